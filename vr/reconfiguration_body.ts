/** What a Reconfiguration says, in bytes, and where the epoch that it makes begins. */
import { assert } from '../lib/assert.ts';
import { decodeAll, Writer, type Decoded } from '../lib/bytes.ts';
import { opNumber, type OpNumber } from '../lib/ids.ts';
import { decodeConfiguration, encodeConfiguration, firstView, type Configuration } from './configuration.ts';
import type { Beginning } from './configuration_record.ts';
import type { Entry } from './entry.ts';

/** The body of a Reconfiguration: self-contained, so that it can be executed by who missed the epochs before. */
export interface ReconfigurationBody {
  readonly previous: Configuration;
  readonly next: Configuration;
  /** What every voter of the next one was known to hold in a checkpoint. */
  readonly held: OpNumber;
}

export function encodeReconfigurationBody(b: ReconfigurationBody): Buffer {
  const w = new Writer();
  encodeConfiguration(w, b.previous);
  encodeConfiguration(w, b.next);
  return w.u48(b.held).finish();
}
export function decodeReconfigurationBody(bytes: Buffer): Decoded<ReconfigurationBody> {
  return decodeAll(bytes, (r) => ({ previous: decodeConfiguration(r), next: decodeConfiguration(r), held: opNumber(r.u48()) }));
}

/** Of a Reconfiguration's entry. */
export function beginningOf(entry: Entry): Beginning {
  const body = decodeReconfigurationBody(entry.body);
  assert(body.ok, 'a reconfiguration was made by a primary');
  const { previous, next, held } = body.value;
  return { start: { op: entry.op, entryHash: entry.hash, view: firstView(previous, next, entry.view), previous, held }, configuration: next };
}
