/** A replica's checkpoints as others may read them: which there are, proofs of what a path leads to in one of them, and their parts. */
import type { RecordStore } from '../checkpoint/record_store.ts';
import type { KeyProof } from '../checkpoint/proof.ts';
import type { Proof } from '../checkpoint/proof_codec.ts';
import { PAGE } from '../checkpoint/hashes.ts';
import { innerId, nodeId } from '../checkpoint/inner_node.ts';
import { proveKey } from '../checkpoint/prove.ts';
import { nodeKey, recordKeyOf } from '../checkpoint/store_keys.ts';
import { unsealNode } from '../checkpoint/stored_node.ts';
import { EMPTY } from '../lib/bytes.ts';
import type { OpNumber } from '../lib/ids.ts';
import { PathWalk, type PathStep } from '../fsservice/proven_path.ts';
import type { CheckpointId } from '../vr/superblock.ts';
import { checkpointId } from './checkpoint_port.ts';
import type { CheckpointList, CheckpointParts, KnownCheckpoint } from './running_replica.ts';

/** Roots that are remembered. Replicas do not all take every checkpoint, and who compares them may be late. */
const REMEMBERED = 64;

export class KnownCheckpoints {
  readonly #known = new Map<OpNumber, KnownCheckpoint>();

  add({ op, root, time }: CheckpointId): void {
    this.#known.delete(op);
    this.#known.set(op, { op, root, time });
    for (const oldest of this.#known.keys()) {
      if (this.#known.size <= REMEMBERED) break;
      this.#known.delete(oldest);
    }
  }

  /** Newest first. */
  list(): KnownCheckpoint[] {
    return [...this.#known.values()].sort((a, b) => b.op - a.op);
  }
}

export function heldCheckpoints(store: Pick<RecordStore, 'held'>): CheckpointList['held'] {
  return store.held().map(({ info, recordBytes, users, idleMs, keptMs }) => ({
    op: info.op, root: info.root, time: timeOf(info), records: info.count, bytes: recordBytes, readers: users, idleMs: Math.round(idleMs), keptMs: Math.round(keptMs),
  }));
}

/** A store of op 0 that was made in place of one that has gone has no extra. */
function timeOf(info: Parameters<typeof checkpointId>[0]): number {
  return info.extra.length === 0 ? 0 : checkpointId(info).time;
}

/** Null: the checkpoint is not served (any more). Rejects with StoreDamageError. */
export async function provePath(store: Pick<RecordStore, 'pin'>, names: readonly Buffer[], op: OpNumber | null): Promise<Proof | null> {
  const at = store.pin(op ?? undefined);
  if (at === null) return null;
  try {
    const walk = new PathWalk(names);
    const lookups: KeyProof[] = [];
    for (let step: PathStep = walk.begin(); 'key' in step; ) {
      const proof = await proveKey(at, step.key);
      lookups.push(proof);
      step = walk.found(proof.value);
    }
    const { info, top } = at;
    return { root: info.root, checkpoint: { op: info.op, records: info.count, extra: info.extra, top: top?.hash ?? null }, lookups };
  } finally {
    await at.release();
  }
}

/** Bytes of one answer, as far as its last part does not exceed them. */
const PARTS_BYTES = 4 << 20;
/** Parts read at a time. */
const CHUNK = 16;
const UNCACHED = { fillCache: false } as const;

/** Null: the checkpoint is not served (any more). Rejects with StoreDamageError. Whoever asks compares what it gets with the hashes above. */
export async function readParts(store: Pick<RecordStore, 'pin'>, op: OpNumber, ids: readonly string[], keys: readonly Buffer[]): Promise<CheckpointParts | null> {
  const at = store.pin(op);
  if (at === null) return null;
  try {
    const { info, top, snapshot } = at;
    const nodes: (Buffer | null)[] = [];
    const records: (Buffer | null)[] = [];
    let bytes = 0;
    while (nodes.length + records.length < ids.length + keys.length && bytes < PARTS_BYTES) {
      const some = ids.slice(nodes.length, nodes.length + CHUNK);
      const wanted = some.length > 0 ? some.map(nodeKey) : keys.slice(records.length, records.length + CHUNK).map((key) => recordKeyOf(key));
      for (const [i, stored] of (await snapshot.getMany(wanted, UNCACHED)).entries()) {
        const id = some[i];
        bytes += stored?.length ?? 0;
        if (id === undefined) records.push(stored ?? null);
        else nodes.push(stored === undefined ? null : unsealNode(id, stored));
      }
    }
    return {
      root: info.root, checkpoint: { op: info.op, records: info.count, extra: info.extra, top: top?.hash ?? null },
      topId: top === null ? null : top.kind === 'page' ? nodeId(PAGE, EMPTY, 0) : innerId(top),
      nodes, records,
    };
  } finally {
    await at.release();
  }
}
