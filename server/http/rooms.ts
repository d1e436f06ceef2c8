/**
 * Room for bytes: what the requests of all connections may hold together, be it pieces of files on their way out or bodies on their way in. Each of
 * them is bounded by itself, but there may be thousands, and whoever stops reading or sending in the midst holds what it has until it is given up.
 *
 * Who finds no room waits, and holds nothing meanwhile. While anybody waits, a connection that stands still makes room: it is cut off, so that
 * those who take nothing cannot keep out those who would.
 */
import type { ServerResponse } from 'node:http';
import { problem, type ProblemError } from './problem.ts';

/** What holds no more than this needs no room: there is one request of a connection at a time, and few connections make it much. */
export const SMALL_BYTES = 16 << 10;

/**
 * Is given back by itself when its response has ended or its connection has broken off, so that nobody can forget it; while the replica works with
 * the bytes, when that is over.
 */
export interface Room {
  /** The replica has to go on: the connection is not cut off, and the bytes are there also when it breaks off. */
  ours(): void;
  /** The other side has to go on; also: it just has. */
  theirs(): void;
  release(): void;
}

/** Of what is small. */
export const NO_ROOM: Room = Object.freeze({ ours: () => undefined, theirs: () => undefined, release: () => undefined });

/** Those of a replica, by what they are for. One kind cannot keep out another. */
export interface AllRooms {
  readonly reads: Rooms;
  readonly bodies: Rooms;
  /** Bodies of replicas that fetch the state. */
  readonly transfers: Rooms;
}

export interface RoomsOptions {
  readonly bytes: number;
  /** A connection that has not moved for so long is cut off when somebody waits, milliseconds. */
  readonly stallMs: number;
  /** Of a connection that is cut off, for the log. */
  readonly onCut: (remote: string) => void;
}

/** The replica's own part of what is done with the bytes. */
export async function keeping<T>(room: Room, work: () => Promise<T>): Promise<T> {
  room.ours();
  try {
    return await work();
  } finally {
    room.theirs();
  }
}

interface Waiter {
  readonly bytes: number;
  readonly response: ServerResponse;
  readonly enter: () => void;
}

export class Rooms {
  readonly #options: RoomsOptions;
  #held = 0;
  /** The first to come is the first to enter, so that a large one is not passed over for ever. */
  readonly #waiting = new Set<Waiter>();
  readonly #lent = new Set<Lent>();
  #watch: NodeJS.Timeout | null = null;

  constructor(options: RoomsOptions) {
    this.#options = options;
  }

  /** Bytes that are held. */
  get held(): number {
    return this.#held;
  }

  /**
   * For what is held on behalf of a response. Rejects with a problem when there is no room for `waitMs` milliseconds (null: waits for as
   * long as the connection does), and when the connection breaks off meanwhile.
   */
  async take(bytes: number, response: ServerResponse, waitMs: number | null): Promise<Room> {
    if (bytes <= SMALL_BYTES) return NO_ROOM;
    if (response.destroyed) throw gone();
    const wanted = Math.min(bytes, this.#options.bytes);
    if (this.#waiting.size > 0 || !this.#fits(wanted)) await this.#wait(wanted, response, waitMs);
    else this.#held += wanted;
    const room = new Lent(response, () => {
      this.#lent.delete(room);
      this.#held -= wanted;
      this.#admit();
    });
    this.#lent.add(room);
    return room;
  }

  /** Resolves when the bytes are held. */
  #wait(bytes: number, response: ServerResponse, waitMs: number | null): Promise<void> {
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        this.#waiting.delete(waiter);
        clearTimeout(timer);
        response.removeListener('close', onClose);
        if (this.#waiting.size === 0) this.#stopWatching();
      };
      const onClose = (): void => {
        leave();
        reject(gone());
        this.#admit();
      };
      const waiter: Waiter = {
        bytes, response,
        enter: () => {
          leave();
          this.#held += bytes;
          resolve();
        },
      };
      const timer = waitMs === null ? undefined : setTimeout(() => {
        leave();
        reject(this.#full());
        this.#admit();
      }, waitMs);
      response.once('close', onClose);
      this.#waiting.add(waiter);
      this.#watch ??= setInterval(() => { this.#cutStalled(); }, Math.max(1, this.#options.stallMs / 4));
      this.#cutStalled();
    });
  }

  #fits(bytes: number): boolean {
    return this.#held + bytes <= this.#options.bytes;
  }

  #admit(): void {
    for (const waiter of this.#waiting) {
      if (!this.#fits(waiter.bytes)) return;
      waiter.enter();
    }
  }

  /** As many as whoever waits needs, those first that have stood still the longest. */
  #cutStalled(): void {
    const since = performance.now() - this.#options.stallMs;
    for (const room of this.#lent) room.look();
    const stalled = [...this.#lent].filter((room) => room.idleSince !== null && room.idleSince <= since).sort((a, b) => (a.idleSince ?? 0) - (b.idleSince ?? 0));
    for (const room of stalled) {
      if (this.#waiting.size === 0) return;
      this.#options.onCut(room.remote);
      room.cut();
    }
  }

  #stopWatching(): void {
    if (this.#watch !== null) clearInterval(this.#watch);
    this.#watch = null;
  }

  #full(): ProblemError {
    return problem(503, 'busy', 'Busy', `This replica holds ${this.#held} bytes of what others read and write, as much as it may.`, 'Try again later, or at another replica.', { 'retry-after': '1' });
  }
}

function gone(): ProblemError {
  return problem(400, 'client-gone', 'The client has gone', 'The connection broke off while the request waited for room in memory.', 'Send the request again.');
}

class Lent implements Room {
  readonly #response: ServerResponse;
  readonly #giveBack: () => void;
  readonly #onClose = (): void => {
    this.#closed = true;
    if (this.idleSince !== null) this.release();
  };
  #closed = false;
  #released = false;
  /** Since when the other side has not gone on; null: it is not its turn. */
  idleSince: number | null = null;
  /** Of all that it has sent, when it was last looked at. */
  #received = 0;

  /** The replica's turn is first. */
  constructor(response: ServerResponse, giveBack: () => void) {
    this.#response = response;
    this.#giveBack = giveBack;
    this.#closed = response.destroyed;
    response.once('close', this.#onClose);
  }

  get remote(): string {
    const { socket } = this.#response;
    return `${socket?.remoteAddress ?? 'unknown'}:${socket?.remotePort ?? 0}`;
  }

  ours(): void {
    this.idleSince = null;
  }

  theirs(): void {
    this.idleSince = performance.now();
    this.#received = this.#bytesRead;
    if (this.#closed) this.release();
  }

  /** Who has sent something since has not stood still: of a body that is gathered elsewhere nobody says so for each part. */
  look(): void {
    if (this.idleSince === null || this.#received === this.#bytesRead) return;
    this.#received = this.#bytesRead;
    this.idleSince = performance.now();
  }

  get #bytesRead(): number {
    return this.#response.socket?.bytesRead ?? 0;
  }

  release(): void {
    if (this.#released) return;
    this.#released = true;
    this.#response.removeListener('close', this.#onClose);
    this.#giveBack();
  }

  cut(): void {
    this.#response.destroy();
    this.release();
  }
}
