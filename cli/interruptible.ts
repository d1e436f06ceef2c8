/** Work that ends in order when this process is told to end. */
import { ExitCode } from './exit_codes.ts';
import { Interrupted } from './failure.ts';

export interface Interruption {
  readonly signals: readonly NodeJS.Signals[];
  /** What has become of the work then. */
  readonly message: string;
  /** What a second one does: end the process at once, or nothing. */
  readonly again: 'kills' | 'nothing';
}

/** Rejects with Interrupted when a signal comes meanwhile, after `work` has put everything away; what it does all the same counts. */
export async function interruptible<T>({ signals, message, again }: Interruption, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const stop = new AbortController();
  const leave = (): void => { for (const signal of signals) process.off(signal, onSignal); };
  const onSignal = (signal: NodeJS.Signals): void => {
    if (again === 'kills') leave();
    stop.abort(new Interrupted(message, exitCodeOf(signal)));
  };
  for (const signal of signals) process.on(signal, onSignal);
  try {
    return await work(stop.signal);
  } catch (error) {
    if (!stop.signal.aborted) throw error;
    const reason = stop.signal.reason as Interrupted;
    // Whatever broke when everything was told to end, that is why. But what could not be put away has to be said.
    if (!(error instanceof Error && 'suppressed' in error)) throw reason;
    throw new Interrupted(error.cause === reason ? error.message : `interrupted: ${error.message}`, reason.exitCode, { cause: error });
  } finally {
    leave();
  }
}

function exitCodeOf(signal: NodeJS.Signals): Interrupted['exitCode'] {
  return signal === 'SIGTERM' ? ExitCode.terminated : ExitCode.interrupted;
}
