/**
 * What the log says of the connections to the other members. A member that refuses this replica does so at each attempt, some of which it
 * begins itself: that is told once, as an error, since nothing but a person ends it.
 */
import type { MemberId } from '../lib/ids.ts';
import type { Log } from './log.ts';

export class LinkLog {
  readonly #log: Pick<Log, 'info' | 'warn' | 'error'>;
  readonly #refusals = new Map<MemberId, string>();

  constructor(log: Pick<Log, 'info' | 'warn' | 'error'>) {
    this.#log = log;
  }

  /** Who refuses this replica, with the reason. */
  get refusals(): ReadonlyMap<MemberId, string> {
    return this.#refusals;
  }

  /** Whoever refuses does it behind the connection. */
  connected(member: MemberId): void {
    if (!this.#refusals.has(member)) this.#log.info({ member }, `connected to member ${member}`);
  }

  lost(member: MemberId, reason: string | null): void {
    if (!this.#refusals.has(member)) this.#log.warn({ member }, `no connection to member ${member}: ${reason ?? 'the other side has closed it'}`);
  }

  refused(member: MemberId, reason: string): void {
    if (this.#refusals.get(member) === reason) return;
    this.#refusals.set(member, reason);
    this.#log.error({ member }, `member ${member} refuses this replica: ${reason}`);
  }

  /** A message has come: it does not, or not any more. */
  heard(member: MemberId): void {
    if (this.#refusals.size > 0 && this.#refusals.delete(member)) this.#log.info({ member }, `member ${member} does not refuse this replica any more`);
  }
}
