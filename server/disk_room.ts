/**
 * Room on the disk for a checkpoint, looked at before it is written: a write that has failed for want of room cannot be
 * repeated (LevelDB's log may end in a torn record then, and it takes no more until it was opened again), but one that has
 * not begun can wait. The last checkpoint stays good meanwhile, what was executed since stays in memory and in the
 * journal, and clients are slowed down when either has become too much (vr/log_room.ts).
 */
import { statfs } from 'node:fs/promises';
import type { Log } from './log.ts';
import type { RoomReport } from './running_replica.ts';
import { WaitEnded, waitUnlessEnded } from './wait.ts';

export interface FileSystemRoom {
  /** Bytes that this process may still write, and that the file system has in all. */
  readonly free: number;
  readonly size: number;
}

export interface DiskRoomOptions {
  readonly directory: string;
  /** What a checkpoint leaves free: for LevelDB's own tidying up, and for the journal. At most a tenth of the file system. */
  readonly reserveBytes: number;
  readonly log: Log;
  /** There is hardly room for the journal; and when there is again. */
  readonly onCramped: (cramped: boolean) => void;
  /** For tests: the disk, and how often it is looked at, milliseconds. */
  readonly look?: () => Promise<FileSystemRoom>;
  readonly pollMs?: number;
}

const POLL_MS = 1000;
/** It is said again in the log after so long. */
const REPEAT_MS = 60_000;
/** A batch goes into LevelDB's log first, and then into a table. */
const COPIES = 2;

export class DiskRoom {
  readonly #options: DiskRoomOptions;
  readonly #end = new AbortController();
  #waiting: RoomReport | null = null;
  #cramped = false;
  #waits = 0;

  constructor(options: DiskRoomOptions) {
    this.#options = options;
  }

  /** What waits for room now; null: nothing. */
  get waiting(): RoomReport | null {
    return this.#waiting;
  }
  /** How often something has had to wait since the boot. */
  get waits(): number {
    return this.#waits;
  }

  /** Resolves when so many bytes can be written. Rejects with WaitEnded after `close`, and when the disk cannot be looked at. */
  async need(bytes: number): Promise<void> {
    if (await this.#fits(bytes)) return;
    const { log, directory, pollMs } = this.#options;
    this.#waits++;
    let toldAt = -Infinity;
    try {
      do {
        const waiting = this.#waiting;
        if (waiting !== null && performance.now() - toldAt >= REPEAT_MS) {
          toldAt = performance.now();
          log.error({ ...waiting }, `a checkpoint waits for room on the disk of ${directory}: ${waiting.neededBytes} bytes are needed (with the reserve), ${waiting.freeBytes} are free. The last one is good and nothing is lost; clients are slowed down when the log has become too long. Make room; the checkpoint is then taken by itself`);
        }
        await waitUnlessEnded(pollMs ?? POLL_MS, this.#end.signal);
      } while (!(await this.#fits(bytes)));
      log.info('there is room on the disk again: the checkpoint is written');
    } finally {
      this.#waiting = null;
      this.#setCramped(false);
    }
  }

  async #fits(bytes: number): Promise<boolean> {
    if (this.#end.signal.aborted) throw new WaitEnded();
    const { free, size } = await (this.#options.look?.() ?? lookAt(this.#options.directory));
    const reserve = Math.min(this.#options.reserveBytes, size / 10);
    const neededBytes = Math.ceil(bytes * COPIES + reserve);
    if (free >= neededBytes) return true;
    this.#waiting = { since: this.#waiting?.since ?? Date.now(), neededBytes, freeBytes: free };
    // The journal takes from the reserve, half of it at most.
    this.#setCramped(free < reserve / 2);
    return false;
  }

  #setCramped(cramped: boolean): void {
    if (cramped === this.#cramped) return;
    this.#cramped = cramped;
    this.#options.onCramped(cramped);
  }

  /** Nothing waits any longer. */
  close(): void {
    this.#end.abort();
  }
}

async function lookAt(directory: string): Promise<FileSystemRoom> {
  const { bavail, blocks, bsize } = await statfs(directory);
  return { free: bavail * bsize, size: blocks * bsize };
}
