/**
 * When a replica's damaged records are repaired (record_repair.ts has how): at once, when the replica itself has met the damage and
 * cannot do without what is there; later, when somebody else has, or a scrub. Then what was closed for it is opened again.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { StoreDamageError } from '../checkpoint/store_damage.ts';
import type { MemberId } from '../lib/ids.ts';
import type { Log } from './log.ts';
import type { Parts } from './parts.ts';
import { repairDamage } from './record_repair.ts';
import type { DamageReport, StoreStatus } from './running_replica.ts';

/** What the repairs ask of the process. */
export interface RepairsOwner {
  readonly log: Log;
  /** It has been told to stop: nothing is started again. */
  readonly stopping: () => boolean;
  /** It has stopped after an error, or nothing new is taken in any more. */
  readonly halted: () => boolean;
  /** The other members that have records. */
  readonly others: () => readonly MemberId[];
  /** From the call on nothing is answered or executed. Returns what the replica was made of. */
  readonly drop: () => Parts;
  /** What was promised goes to the disk, as in any other stop. Then nothing is open any more. */
  readonly close: (parts: Parts) => Promise<void>;
  readonly bringUp: () => Promise<void>;
  readonly startedAgain: () => void;
  readonly fatal: (error: Error) => void;
}

export class Repairs {
  readonly #owner: RepairsOwner;
  #running: Promise<void> | null = null;
  #damages = 0;
  #last: DamageReport | null = null;
  /** Damage that can wait for its repair, and the members that were not heard of since. */
  #deferred: { readonly damage: StoreDamageError; readonly waitingFor: Set<MemberId> } | null = null;

  constructor(owner: RepairsOwner) {
    this.#owner = owner;
  }

  /** The one under way; it does not reject. */
  get running(): Promise<void> | null {
    return this.#running;
  }

  /** One waits for the others to take part. */
  get deferred(): boolean {
    return this.#deferred !== null;
  }

  report(): Pick<StoreStatus, 'damages' | 'lastDamage'> {
    return { damages: this.#damages, lastDamage: this.#last };
  }

  /** The replica has met it: it is dropped in this very turn. */
  now(damage: StoreDamageError): void {
    // What was still under way finds it again.
    if (this.#running !== null) return;
    const { log, stopping, drop, fatal } = this.#owner;
    const parts = drop();
    this.#deferred = null;
    if (stopping()) {
      log.error({ err: damage }, `the records are damaged (${damage.message}), and the replica is being stopped: its next start repairs them`);
      return;
    }
    this.#running = this.#repair(parts, damage).catch((error: unknown) => {
      this.#running = null;
      fatal(new Error(`the records are damaged (${damage.message}) and could not be repaired: ${error instanceof Error ? error.message : String(error)}. Make room or check the disk, then start the replica again`, { cause: error }));
    });
  }

  /**
   * Found for a peer that fetches, which has other donors, or by a scrub: nothing here depends on it now. The peer takes no
   * part yet, and two such may be more than the group can do without; those that do take part tell of their checkpoints now and then.
   */
  later(damage: StoreDamageError, how: string): void {
    if (this.#deferred !== null || this.#running !== null || this.#owner.halted()) return;
    this.#owner.log.error({ damage: damage.message }, `a part of the state ${how}: ${damage.message}. This replica goes on, and is repaired when all the others take part`);
    this.#deferred = { damage, waitingFor: new Set(this.#owner.others()) };
  }

  /** This member has told of its checkpoints. */
  takesPart(member: MemberId): void {
    const deferred = this.#deferred;
    deferred?.waitingFor.delete(member);
    if (deferred?.waitingFor.size === 0) this.now(deferred.damage);
  }

  async #repair(parts: Parts, damage: StoreDamageError): Promise<void> {
    await nextTurn();
    await this.mend(parts, damage);
    if (this.#owner.stopping()) return;
    await this.#owner.bringUp();
    this.#running = null;
    this.#owner.startedAgain();
  }

  /** Closes what is open, and puts the records right on the disk. Rejects when that cannot be done. */
  async mend(parts: Parts, damage: StoreDamageError): Promise<void> {
    const last = this.#last;
    const again = last !== null && parts.recovery.report().caughtUpMs === null;
    await this.#owner.close(parts);
    if (again && last.remedy === 'set aside') {
      throw new Error('they had just been fetched anew, and are damaged again: this disk or this memory does not keep what is written');
    }
    this.repaired(await repairDamage(parts.boot.data.records, damage, this.#owner.log, !again));
  }

  /** They have been, here or when they were opened. */
  repaired(damage: DamageReport): void {
    this.#damages++;
    this.#last = damage;
  }
}
