/**
 * Each committed entry was requested by a client, in these bytes, and is executed once: per (session, slot, sequence
 * number), and per operation of a client, which it repeats under another session only if it was never executed.
 */
import type { Entry } from '../../vr/entry.ts';
import { ensure } from './violation.ts';

export class ExactlyOnce {
  readonly #requested = new Map<string, Buffer>();
  readonly #executed = new Map<string, number>();
  readonly #executedOperation = new Map<string, number>();
  readonly #registered = new Set<string>();
  readonly #live = new Set<number>();
  readonly #disowned = new Set<string>();

  /** A client sends a request (the first time or again). */
  requested(session: number, slot: number, seq: number, body: Buffer): void {
    const key = `${session}/${slot}/${seq}`;
    const known = this.#requested.get(key);
    if (known === undefined) this.#requested.set(key, body);
    else ensure(known.equals(body), 'a client repeats itself', () => `request ${key} is sent with another body`);
  }

  /** A client asks for a session. */
  registering(nonce: Buffer): void {
    this.#registered.add(nonce.toString('hex'));
  }

  /** The first execution of `entry` by anybody, in committed order. */
  executed(entry: Entry): void {
    if (entry.kind !== 'request') return;
    const key = `${entry.session}/${entry.slot}/${entry.seq}`;
    const body = this.#requested.get(key);
    ensure(body !== undefined && body.equals(entry.body), 'committed entries were requested', () => `op ${entry.op}: request ${key} was never sent so`);
    const earlier = this.#executed.get(key);
    ensure(earlier === undefined, 'exactly once', () => `request ${key} is executed at op ${earlier} and at op ${entry.op}`);
    this.#executed.set(key, entry.op);
    ensure(this.#live.has(entry.session), 'requests of live sessions only', () => `op ${entry.op} executes request ${key}, whose session has ended or never began`);
    const operation = entry.body.latin1Slice(0, entry.body.length);
    const before = this.#executedOperation.get(operation);
    ensure(before === undefined, 'exactly once', () => `the operation of request ${key} is executed at op ${before} and at op ${entry.op}`);
    this.#executedOperation.set(operation, entry.op);
    ensure(!this.#disowned.has(operation), 'failures keep their promise', () => `op ${entry.op} executes an operation whose client was told that it would not be`);
  }

  sessionStarted(entry: Entry, nonce: Buffer): void {
    ensure(this.#registered.has(nonce.toString('hex')), 'committed entries were requested', () => `op ${entry.op} begins a session that nobody asked for`);
    this.#live.add(entry.op);
  }

  sessionEnded(session: number): void {
    this.#live.delete(session);
  }

  /** The op at which a client's operation was executed. */
  opOfOperation(body: Buffer): number | undefined {
    return this.#executedOperation.get(body.latin1Slice(0, body.length));
  }

  /** A client was told that this operation was not and will not be executed. */
  disowned(body: Buffer): void {
    const at = this.opOfOperation(body);
    ensure(at === undefined, 'failures keep their promise', () => `an operation that was executed at op ${at} is said not to have happened`);
    this.#disowned.add(body.latin1Slice(0, body.length));
  }
}
