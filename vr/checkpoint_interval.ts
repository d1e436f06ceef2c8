/**
 * How often checkpoints are taken: every `ops` operations, or after `bytes` of log. As configured, until an administrator
 * changes it; from then on what the group has agreed on, a record of the state, and the configuration says nothing any more.
 *
 * The change is a log entry, so that it takes effect at the same op on every replica: checkpoint points stay a function of
 * the log alone, whoever restarts, changes view or takes the state over from a peer (the record comes with it). It names the
 * change that it follows; one that comes second, and a repeat of one that was made, does nothing, and whoever asked compares.
 */
import { assert } from '../lib/assert.ts';
import { decodeAll, EMPTY, Writer, type Decoded, type Reader } from '../lib/bytes.ts';
import { opNumber, type OpNumber } from '../lib/ids.ts';
import { systemKey, SystemKind } from '../lib/system_keys.ts';
import type { Entry } from './entry.ts';
import type { AskInterval, IntervalChange, RefusedCode } from './messages.ts';
import type { ConnectionId } from './ports.ts';
import type { Replica } from './replica.ts';

export interface CheckpointInterval {
  readonly ops: number;
  /** Of log entries. */
  readonly bytes: number;
  /** The op of the entry that made it so; 0: as this replica is configured. */
  readonly since: OpNumber;
}

/** What may be asked for at all; the log's limits narrow it further (see `refusal`). */
export const MAX_INTERVAL_OPS = 10_000_000;
export const MIN_INTERVAL_BYTES = 1 << 10;
export const MAX_INTERVAL_BYTES = 2 ** 40;

/** The body of the entry. */
export interface IntervalBody {
  /** Of who asked. */
  readonly nonce: Buffer;
  readonly change: IntervalChange;
}

export function encodeIntervalChange(w: Writer, c: IntervalChange): void {
  w.u48(c.after).u32(c.ops).u53(c.bytes);
}
export function decodeIntervalChange(r: Reader): IntervalChange {
  return { after: opNumber(r.u48()), ops: r.u32(), bytes: r.u53() };
}
export function encodeIntervalBody(b: IntervalBody): Buffer {
  const w = new Writer(40).raw(b.nonce);
  encodeIntervalChange(w, b.change);
  return w.finish();
}
export function decodeIntervalBody(bytes: Buffer): Decoded<IntervalBody> {
  return decodeAll(bytes, (r) => ({ nonce: Buffer.from(r.raw(16)), change: decodeIntervalChange(r) }));
}

/**
 * Why an interval cannot be had, or null. The log is held until a checkpoint is durable, and goes on growing while it is
 * written: with more than half of the log's limits between two of them, clients would be made to wait at each.
 */
export function refusal(change: Pick<IntervalChange, 'ops' | 'bytes'>, limits: { readonly maxLogEntries: number; readonly maxLogBytes: number }): string | null {
  const { ops, bytes } = change;
  const [most, mostBytes] = [Math.floor(limits.maxLogEntries / 2), Math.floor(limits.maxLogBytes / 2)];
  if (ops < 1 || ops > MAX_INTERVAL_OPS) return `a checkpoint every ${ops} operations: from 1 to ${MAX_INTERVAL_OPS} is possible`;
  if (bytes < MIN_INTERVAL_BYTES || bytes > MAX_INTERVAL_BYTES) return `a checkpoint after ${bytes} bytes of log: from ${MIN_INTERVAL_BYTES} to ${MAX_INTERVAL_BYTES} is possible`;
  if (ops > most) return `a checkpoint every ${ops} operations: at most half of maxLogEntries, ${most}, or clients would have to wait for each; raise maxLogEntries in the configuration of the replicas first`;
  if (bytes > mostBytes) return `a checkpoint after ${bytes} bytes of log: at most half of maxLogBytes, ${mostBytes}, or clients would have to wait for each; raise maxLogBytes in the configuration of the replicas first`;
  return null;
}

/** In the application's table: ops u32 | bytes u53 | since u48. */
const RECORD_KEY = systemKey(SystemKind.checkpointInterval, EMPTY);

export class CheckpointIntervals {
  readonly #r: Replica;
  #present: CheckpointInterval;
  /** Who is to be told when the entry with this nonce is executed. */
  readonly #waiting = new Map<string, { readonly connection: ConnectionId; readonly nonce: Buffer }>();

  constructor(replica: Replica) {
    this.#r = replica;
    this.#present = this.#configured();
  }

  get present(): CheckpointInterval {
    return this.#present;
  }

  #configured(): CheckpointInterval {
    const { checkpointOps, checkpointBytes } = this.#r.options;
    return { ops: checkpointOps, bytes: checkpointBytes, since: opNumber(0) };
  }

  /** The table is at another state than before. */
  load(): void {
    const bytes = this.#r.ports.checkpoints.table.get(RECORD_KEY);
    if (bytes === undefined) {
      this.#present = this.#configured();
      return;
    }
    const record = decodeAll(bytes, (r) => ({ ops: r.u32(), bytes: r.u53(), since: opNumber(r.u48()) }));
    assert(record.ok, 'the record of the checkpoint interval is ours');
    this.#present = record.value;
  }

  /** A committed change: the entry itself is counted by the new interval already. */
  execute(entry: Entry): void {
    const body = decodeIntervalBody(entry.body);
    assert(body.ok, 'a change of the checkpoint interval was made by a primary');
    const { nonce, change } = body.value;
    const { ops, bytes, after } = change;
    if (after === this.#present.since) {
      this.#present = { ops, bytes, since: entry.op };
      this.#r.ports.checkpoints.table.put(RECORD_KEY, new Writer(18).u32(ops).u53(bytes).u48(entry.op).finish());
      this.#r.event('checkpoint-interval', { ops, bytes, op: entry.op });
    }
    const key = nonce.latin1Slice();
    const asked = this.#waiting.get(key);
    if (asked === undefined) return;
    this.#waiting.delete(key);
    this.#answer(asked.connection, asked.nonce);
  }

  // --- administrators, at the primary --------------------------------------------------------------------------------

  onAsk(connection: ConnectionId, m: AskInterval): void {
    const r = this.#r;
    if (!r.isPrimary) r.ports.network.reply(connection, r.redirect());
    else if (!r.normal.serving || r.normal.closing) r.normal.hold(connection, m);
    else if (m.change === null || m.change.after !== this.#present.since) r.reads.whenConfirmed(connection, m, this.#answerTo(connection, m.nonce));
    else this.#propose(connection, m.nonce, m.change);
  }

  #propose(connection: ConnectionId, nonce: Buffer, change: IntervalChange): void {
    const r = this.#r;
    const key = nonce.latin1Slice();
    const repeated = this.#waiting.has(key);
    const refused = refusal(change, r.options);
    const full = r.normal.fullness;
    if (refused !== null) this.#refuse(connection, nonce, 'invalid', refused);
    else if (!repeated && full !== null) this.#refuse(connection, nonce, 'busy', full);
    else {
      this.#waiting.set(key, { connection, nonce });
      if (!repeated) r.normal.propose('checkpointInterval', encodeIntervalBody({ nonce, change }));
    }
  }

  #refuse(connection: ConnectionId, nonce: Buffer, code: RefusedCode, reason: string): void {
    this.#r.ports.network.reply(connection, { type: 'refused', nonce, code, reason });
  }

  /** See Reconfiguration. */
  #answerTo(connection: ConnectionId, asked: Buffer): () => void {
    const nonce = Buffer.from(asked);
    return () => { this.#answer(connection, nonce); };
  }

  #answer(connection: ConnectionId, nonce: Buffer): void {
    this.#r.ports.network.reply(connection, { type: 'interval', nonce, ...this.#present });
  }

  /** The primary of this view is another: what was asked for has to be asked there. */
  leave(): void {
    this.#waiting.clear();
  }
}
