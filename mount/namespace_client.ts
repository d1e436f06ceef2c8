/**
 * What the mount asks of a client. `VrfsClient` (client/client.ts) is one; tests put the state machine itself behind it.
 *
 * A failure of the file system is a value (`ok: false` with a Linux errno). A promise is rejected only when no answer could be had
 * (no quorum within the client's time-out, the client was closed): the caller then does not know whether a write was executed.
 */
import type { Ino } from '../lib/ids.ts';
import type { Call, ReadOperation, Result, WriteOperation } from '../fsservice/operations.ts';

export interface NamespaceClient {
  /** Executes a write exactly once, through the log; resolves when it is committed and executed. */
  submit<O extends WriteOperation>(call: Call<O>): Promise<Result<O['type']>>;
  /** A linearizable read. */
  query<O extends ReadOperation>(call: Call<O>): Promise<Result<O['type']>>;
  /** Which inodes this session holds open: an unlinked one lives on while it is named here. Counted: one release for each open. `open` and `reserve` throw RangeError at the session's limit; `reserve` keeps a place for an inode that is still to be made, until `unreserve`. */
  readonly openFiles: { open(ino: Ino): void; release(ino: Ino): void; reserve(): void; unreserve(): void };
  close(): Promise<void>;
}
