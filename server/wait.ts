/** Waiting that the end of the replica ends. */
import { setTimeout as sleep } from 'node:timers/promises';

/** What waited will not be written by this process. Nothing of it was. */
export class WaitEnded extends Error {
  override readonly name = 'WaitEnded';
  constructor() {
    super('the replica is being stopped while a checkpoint waits');
  }
}

/** Resolves after so many milliseconds; rejects with WaitEnded as soon as the signal says that the replica is being stopped. */
export async function waitUnlessEnded(milliseconds: number, signal: AbortSignal): Promise<void> {
  try {
    await sleep(milliseconds, undefined, { signal });
  } catch (error) {
    throw signal.aborted ? new WaitEnded() : error;
  }
}
