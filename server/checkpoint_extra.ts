/** What the replica puts into a checkpoint beside the records: entry hash 32 | view u53 | time u53. It is part of the root. */
import { decodeAll, Writer, type Decoded } from '../lib/bytes.ts';
import { digest, view } from '../lib/ids.ts';
import type { CheckpointId } from '../vr/superblock.ts';

export type CheckpointExtra = Pick<CheckpointId, 'entryHash' | 'view' | 'time'>;

export function encodeExtra(at: CheckpointExtra): Buffer {
  return new Writer(48).latin1(at.entryHash).u53(at.view).u53(at.time).finish();
}

export function decodeExtra(bytes: Buffer): Decoded<CheckpointExtra> {
  return decodeAll(bytes, (r) => ({ entryHash: digest(r.latin1(32)), view: view(r.u53()), time: r.u53() }));
}
