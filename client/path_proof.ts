/**
 * Verifies what a replica says that a path led to in a checkpoint, against a root that is trusted. Pure. The bytes may come from
 * anybody: what is refused says why, and what is not refused is true of the checkpoint with that root. docs/PROOFS.md
 */
import { decodeExtra } from '../lib/checkpoint_extra.ts';
import type { Digest, OpNumber } from '../lib/ids.ts';
import { verifyKey, verifyRoot } from '../checkpoint/proof.ts';
import { proofFromJson } from '../checkpoint/proof_codec.ts';
import { PathWalk, type PathOutcome, type PathStep } from '../fsservice/proven_path.ts';

export interface TrustedRoot {
  readonly op: OpNumber;
  readonly root: Digest;
}

export type PathProof =
  | {
    readonly ok: true;
    readonly outcome: PathOutcome;
    /** Records of the whole state at the checkpoint. */
    readonly records: number;
    /** When the checkpoint's operation was, microseconds since 1970; null: the group had not begun. */
    readonly timeMicros: number | null;
  }
  | { readonly ok: false; readonly reason: string };

/** `json`: the parsed body of GET /v1/proof; `names`: the names of the path (namesOfPath). */
export function verifyPathProof(json: unknown, names: readonly Buffer[], trusted: TrustedRoot): PathProof {
  const read = proofFromJson(json);
  if (!read.ok) return read;
  const { root, checkpoint, lookups } = read.value;
  if (root !== trusted.root || checkpoint.op !== trusted.op) return { ok: false, reason: 'it is of another checkpoint' };
  const wrongRoot = verifyRoot(checkpoint, trusted.root);
  if (wrongRoot !== null) return { ok: false, reason: wrongRoot };
  const walk = new PathWalk(names);
  let step: PathStep = walk.begin();
  for (const [i, lookup] of lookups.entries()) {
    if (!('key' in step)) return { ok: false, reason: 'it looks up more than the path needs' };
    if (!lookup.key.equals(step.key)) return { ok: false, reason: `lookup ${i} is of another key than the path leads to` };
    const refused = verifyKey(checkpoint.top, lookup);
    if (refused !== null) return { ok: false, reason: `lookup ${i}: ${refused}` };
    step = walk.found(lookup.value);
  }
  if ('key' in step) return { ok: false, reason: 'it ends before the path does' };
  const extra = decodeExtra(checkpoint.extra);
  return { ok: true, outcome: step, records: checkpoint.records, timeMicros: extra.ok ? extra.value.time : null };
}
