/**
 * Keeps a client's session alive, and tells the group which inodes it holds open. A client that holds files open says
 * so at regular intervals and soon after it let go of one, so that unlinked files are freed without long delay; any other
 * speaks up only when it has been silent for long.
 */
import { decodeResult, encodeCall } from '../fsservice/operation_codec.ts';
import type { Ino, OpNumber } from '../lib/ids.ts';
import type { Completion } from './completion.ts';

export interface KeepAlivePorts {
  readonly holdsOpens: boolean;
  /** The session has been silent for so long that it may end. */
  due(): boolean;
  seenOp(): OpNumber;
  open(): readonly Ino[];
  submit(body: Buffer, completion: Completion): void;
}

const CHECK_MS = 1000;
/** After a release: as often as this at most. */
const AFTER_RELEASE_MS = 3000;

export class KeepAlive {
  readonly #ports: KeepAlivePorts;
  #timer: NodeJS.Timeout | undefined;
  #intervalMs = 10_000;
  #silentMs = 0;
  #dirty = false;
  #underWay = false;
  /** Asked for while one was under way, which cannot have said it all. */
  #again = false;

  constructor(ports: KeepAlivePorts) {
    this.#ports = ports;
  }

  /** A session that replaces another knows nothing of what is open. */
  sessionStarted(timeoutMs: number): void {
    this.#intervalMs = Math.max(CHECK_MS, timeoutMs / 6);
    if (this.#timer === undefined) {
      this.#timer = setInterval(() => { this.#check(); }, CHECK_MS);
      this.#timer.unref();
    }
    if (this.#ports.holdsOpens) this.soon();
  }

  released(): void {
    this.#dirty = true;
  }

  soon(): void {
    if (this.#underWay) this.#again = true;
    else this.#send();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #check(): void {
    this.#silentMs += CHECK_MS;
    if (this.#underWay) return;
    const wanted = this.#ports.holdsOpens && this.#silentMs >= (this.#dirty ? AFTER_RELEASE_MS : this.#intervalMs);
    if (wanted || this.#ports.due()) this.#send();
  }

  #send(): void {
    const open = this.#ports.holdsOpens ? this.#ports.open() : [];
    this.#silentMs = 0;
    this.#dirty = false;
    this.#again = false;
    this.#underWay = true;
    const body = encodeCall({ credentials: { uid: 0, gid: 0, groups: [] }, operation: { type: 'keepAlive', seenOp: this.#ports.seenOp(), open } });
    this.#ports.submit(body, {
      completed: (bytes) => {
        this.#underWay = false;
        if (this.#again) {
          this.#send();
          return;
        }
        const decoded = decodeResult('keepAlive', bytes);
        // Orphans that are left may be waiting for a confirmation that has seen more than this one had.
        if (decoded.ok && decoded.value.ok && decoded.value.value.orphans > 0) this.#dirty = true;
      },
      // The next one comes by itself, and says all that this one would have said.
      failed: () => {
        this.#underWay = false;
        this.#dirty = true;
      },
    });
  }
}
