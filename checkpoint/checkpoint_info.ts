/** What names a checkpoint. */
import type { Digest, OpNumber } from '../lib/ids.ts';

export interface CheckpointInfo {
  /** The last operation that it includes; 0: none. */
  readonly op: OpNumber;
  /** sha256 over op, count, extra and the top of the Merkle tree. */
  readonly root: Digest;
  /** Bytes of the replica that belong to the checkpoint and its root; at most 256. */
  readonly extra: Buffer;
  /** Records. */
  readonly count: number;
}
