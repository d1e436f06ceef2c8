/**
 * The newest epoch and where it began, as a record of the application's table: who takes over a checkpoint, or goes on from one, knows
 * by it whose group that was. A group that was never changed has none.
 */
import { decodeAll, Writer, type Decoded } from '../lib/bytes.ts';
import { systemKey, SystemKind } from '../lib/system_keys.ts';
import { decodeConfiguration, encodeConfiguration, type Configuration } from './configuration.ts';
import { decodeEpochStart, encodeEpochStart, type EpochStart } from './superblock.ts';

/** An epoch that has begun. */
export interface Beginning {
  readonly start: EpochStart;
  readonly configuration: Configuration;
}

export const CONFIGURATION_KEY: Buffer = systemKey(SystemKind.configuration, Buffer.alloc(0));

export function encodeBeginning(b: Beginning): Buffer {
  const w = new Writer();
  encodeEpochStart(w, b.start);
  encodeConfiguration(w, b.configuration);
  return w.finish();
}

export function decodeBeginning(bytes: Buffer): Decoded<Beginning> {
  return decodeAll(bytes, (r) => ({ start: decodeEpochStart(r), configuration: decodeConfiguration(r) }));
}
