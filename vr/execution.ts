/**
 * Executes committed entries in order, on every replica alike, and answers the client from the primary. Also finds
 * the checkpoint points: every O operations or B bytes of log (checkpoint_interval.ts), and where an operation asks for one, a function
 * of the log alone, so that replicas take the same checkpoints and can compare roots.
 */
import { assert, defined, unreachable } from '../lib/assert.ts';
import { opNumber, view, type OpNumber, type View } from '../lib/ids.ts';
import { decodeExpireBody, decodeRegisterBody } from './client_table.ts';
import type { Entry } from './entry.ts';
import type { Replica } from './replica.ts';
import type { CheckpointId } from './superblock.ts';

export class Execution {
  readonly #r: Replica;
  executed: OpNumber;
  /** Of the last executed entry. */
  view: View;
  /** Time of the last executed entry, microseconds. */
  time: number;
  /** False while the record table is being replaced by a peer's checkpoint. */
  ready: boolean;
  #bytesSincePoint = 0;
  /** The operation that was just executed asked for a checkpoint. */
  #asked = false;

  constructor(replica: Replica, state: CheckpointId | null) {
    this.#r = replica;
    this.executed = state?.op ?? opNumber(0);
    this.view = state?.view ?? view(0);
    this.time = state?.time ?? 0;
    this.ready = state !== null;
    if (this.ready && !replica.isWitness) this.#load();
  }

  /** The table now holds the state at this checkpoint. */
  reset(state: CheckpointId): void {
    this.executed = state.op;
    this.view = state.view;
    this.time = state.time;
    this.#bytesSincePoint = 0;
    this.ready = true;
    this.#r.leases.onStateReplaced();
    if (!this.#r.isWitness) this.#load();
  }

  /** What is kept beside the table of what is in it. */
  #load(): void {
    this.#r.clients.load();
    this.#r.intervals.load();
  }

  /** Some of what is committed; the rest follows in the next turns of the loop. */
  run(): void {
    const r = this.#r;
    for (let n = 0; n < r.options.entriesPerTurn && this.ready && this.executed < r.commit; n++) {
      const entry = defined(r.log.at(this.executed + 1), () => `committed op ${this.executed + 1}`);
      // A witness keeps no state.
      this.#asked = false;
      if (!r.isWitness) this.#execute(entry);
      this.executed = entry.op;
      this.view = entry.view;
      this.time = entry.time;
      this.#bytesSincePoint += entry.bytes.length;
      const { ops, bytes } = r.intervals.present;
      if (!r.isWitness && (this.#asked || entry.op % ops === 0 || this.#bytesSincePoint >= bytes)) {
        this.#bytesSincePoint = 0;
        r.handOver.onPoint(entry);
      }
      if (entry.kind === 'reconfiguration') r.reconfiguration.onExecuted(entry);
    }
    r.log.pack(this.executed);
  }

  #execute(entry: Entry): void {
    const r = this.#r;
    switch (entry.kind) {
      case 'request': this.#executeRequest(entry); return;
      case 'housekeeping':
        r.ports.stateMachine.execute(entry);
        r.normal.onHousekeepingExecuted();
        return;
      case 'register': {
        const body = decodeRegisterBody(entry.body);
        assert(body.ok, 'a register entry was checked before it was logged');
        const { session, created } = r.clients.register(entry, body.value, (evicted) => {
          r.ports.stateMachine.sessionEnded(entry, evicted);
        });
        if (created) r.ports.stateMachine.sessionStarted(entry, body.value.flags);
        r.normal.onRegistered(body.value.nonce, session);
        return;
      }
      case 'expire': {
        const body = decodeExpireBody(entry.body);
        assert(body.ok, 'an expire entry is written by a primary');
        const { session } = body.value;
        if (!r.clients.ends(body.value)) return;
        r.ports.stateMachine.sessionEnded(entry, session);
        r.clients.end(session);
        r.event('session-expired', { session });
        return;
      }
      case 'noop': return;
      case 'reconfiguration': r.reconfiguration.record(entry); return;
      case 'checkpointInterval': r.intervals.execute(entry); return;
      default: unreachable(entry.kind);
    }
  }

  #executeRequest(entry: Entry): void {
    const r = this.#r;
    const before = r.clients.executed(entry);
    if (before !== undefined) {
      r.event('duplicate-skipped', { op: entry.op });
      return;
    }
    if (r.clients.session(entry.session) === undefined) {
      r.normal.onSessionGone(entry);
      return;
    }
    const result = r.ports.stateMachine.execute(entry);
    this.#asked = r.ports.stateMachine.checkpointAsked();
    const slot = r.clients.record(entry, result);
    if (slot !== undefined) r.normal.onExecuted(entry, slot);
  }
}
