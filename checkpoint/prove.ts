/** Makes proofs (proof.ts) from a checkpoint that is held. Reads past LevelDB's cache of blocks, and compares what it reads. */
import { EMPTY } from '../lib/bytes.ts';
import type { PinnedCheckpoint } from './donor.ts';
import { PAGE, slotsProof, slotsRoot } from './hashes.ts';
import { childAt, hashedInner, innerId, nodeId, slotOf, type Child } from './inner_node.ts';
import { keyNibble, matchingNibbles, prefixOf, slotBits } from './key_bits.ts';
import { readSettled } from './key_value_store.ts';
import { hashOfRecord, hashedPart } from './page.ts';
import type { KeyProof, ProofStep } from './proof.ts';
import { Slices } from './slices.ts';
import { nodeKey, recordKeyOf } from './store_keys.ts';
import { auditedNode, auditedNodeThere } from './stored_node.ts';
import { checkedRecord, isRecord } from './verified_reads.ts';

/** A single read is no work to be cut into slices. */
const SLICE_MS = 1;
const UNCACHED = { fillCache: false } as const;

/** Rejects with StoreDamageError when the store has not what was written. */
export async function proveKey(at: PinnedCheckpoint, key: Buffer): Promise<KeyProof> {
  const steps: ProofStep[] = [];
  let child: Child | null = at.top;
  let bits = 0;
  while (child !== null && child.kind === 'inner') {
    const node = await read(at, innerId(child), child.hash);
    const { head, hashes } = hashedInner(node);
    const slot = matchingNibbles(key, child.prefix, child.nibbles, 0) < child.nibbles ? -1 : slotOf(node, keyNibble(key, child.nibbles));
    const below: Child | null = slot < 0 ? null : childAt(node, slot);
    if (below === null || (below.kind === 'inner' && matchingNibbles(key, below.prefix, below.nibbles, 0) < below.nibbles)) {
      steps.push({ head, beside: [slotsRoot(hashes)] });
      return { key, value: null, steps, page: null };
    }
    steps.push({ head, beside: slotsProof(hashes, slot) });
    bits = below.kind === 'page' ? slotBits(child.nibbles, below.span) : 0;
    child = below;
  }
  if (child === null) return { key, value: null, steps, page: null };
  const page = await read(at, nodeId(PAGE, bits === 0 ? EMPTY : prefixOf(key, bits), bits), child.hash);
  const hash = hashOfRecord(page, key);
  if (hash === undefined) return { key, value: null, steps, page: hashedPart(page) };
  let [value] = await at.snapshot.getMany([recordKeyOf(key)], UNCACHED);
  if (!isRecord(key, hash, value)) value = await readSettled(at.snapshot, recordKeyOf(key), new Slices(SLICE_MS));
  return { key, value: checkedRecord(key, hash, value), steps, page: hashedPart(page) };
}

async function read(at: PinnedCheckpoint, id: string, hash: Buffer): Promise<Buffer> {
  const [stored] = await at.snapshot.getMany([nodeKey(id)], UNCACHED);
  return auditedNodeThere(id, hash, stored) ?? auditedNode(id, hash, await readSettled(at.snapshot, nodeKey(id), new Slices(SLICE_MS)));
}
