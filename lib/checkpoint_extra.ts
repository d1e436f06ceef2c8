/**
 * What the replica puts into a checkpoint beside the records: where the log goes on, and when. It is part of the root.
 *
 *   entry hash 32 | view u53 | time u53      of the entry at the checkpoint's op-number
 */
import { decodeAll, Writer, type Decoded } from './bytes.ts';
import { digest, view, type Digest, type View } from './ids.ts';

export interface CheckpointExtra {
  readonly entryHash: Digest;
  readonly view: View;
  /** Predetermined by the primary: microseconds since 1970. */
  readonly time: number;
}

export function encodeExtra(at: CheckpointExtra): Buffer {
  return new Writer(48).latin1(at.entryHash).u53(at.view).u53(at.time).finish();
}

export function decodeExtra(bytes: Buffer): Decoded<CheckpointExtra> {
  return decodeAll(bytes, (r) => ({ entryHash: digest(r.latin1(32)), view: view(r.u53()), time: r.u53() }));
}
