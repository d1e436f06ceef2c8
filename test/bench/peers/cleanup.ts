/** What has to be undone when a benchmark ends, however it ends: an error, a signal, or well. The newest first. */
export class Cleanup {
  readonly #steps: (() => Promise<void>)[] = [];
  #running: Promise<void> | null = null;
  readonly #onSignal = (signal: NodeJS.Signals): void => {
    process.stderr.write(`${signal}: stopping the servers ...\n`);
    // The signal again, unhandled now, so that the caller sees by what this process ended.
    this.run().then(() => { process.kill(process.pid, signal); }, (error: unknown) => {
      process.stderr.write(`${String(error)}\n`);
      process.exit(1);
    });
  };

  constructor() {
    for (const s of ['SIGINT', 'SIGTERM'] as const) process.on(s, this.#onSignal);
  }

  add(step: () => Promise<void>): void {
    this.#steps.push(step);
  }

  /** For what takes time to come into being: it is undone also when the end comes meanwhile, and not begun behind the end. Rejects as `begin` does, which then has undone itself. */
  async started<T>(begin: () => Promise<T>, undo: (thing: T) => Promise<void>): Promise<T> {
    if (this.#running !== null) throw new Error('interrupted');
    const thing = begin();
    this.add(() => thing.then(undo, () => undefined));
    return await thing;
  }

  /** Every step is taken even when others fail; rejects with the first failure. Idempotent. */
  run(): Promise<void> {
    this.#running ??= this.#run();
    return this.#running;
  }

  async #run(): Promise<void> {
    const failures: unknown[] = [];
    for (const step of this.#steps.reverse()) {
      try {
        await step();
      } catch (error) {
        failures.push(error);
      }
    }
    for (const s of ['SIGINT', 'SIGTERM'] as const) process.off(s, this.#onSignal);
    if (failures.length > 0) throw failures[0];
  }
}
