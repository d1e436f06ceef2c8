/**
 * One turn of the event loop. Sockets and disks hand their inputs to the replica as they come; once all that were
 * ready have been read, `end` runs, once: the replica sends what has gathered, the journal begins a group, each
 * socket is written to once (but see client_links.ts). No batch has a delay of its own, and under load batches grow by themselves.
 */
export class Turn {
  readonly #end: () => void;
  #requested = false;
  #busyMs = 0;

  constructor(end: () => void) {
    this.#end = end;
  }

  /** Milliseconds that the ends of all turns have taken. */
  get busyMs(): number {
    return this.#busyMs;
  }

  /** There was an input: the turn has to be ended. */
  request(): void {
    if (this.#requested) return;
    this.#requested = true;
    // setImmediate runs when the loop has polled all descriptors that were ready.
    setImmediate(this.#run);
  }

  readonly #run = (): void => {
    const began = performance.now();
    // What the end itself gathers goes out at its end: only then is a new turn needed.
    try {
      this.#end();
    } finally {
      this.#requested = false;
      this.#busyMs += performance.now() - began;
    }
  };
}
