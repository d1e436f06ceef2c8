/**
 * What a replica does about records that are damaged on its disk: nothing of them is used; the store is repaired as far
 * as it goes, or set aside whole, and what is then missing is fetched from the other replicas. No operator is needed, as
 * long as a majority of the others runs.
 */
import { rename, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { StoreOpenError } from '../checkpoint/key_value_store.ts';
import { repairRecords, type RepairReport } from '../checkpoint/repair.ts';
import { StoreDamageError } from '../checkpoint/store_damage.ts';
import type { Log } from './log.ts';
import type { DamageReport } from './running_replica.ts';
import { syncDirectory } from './directories.ts';

/** An error of opening or reading the records that this file has a remedy for. */
export function isDamage(error: unknown): error is StoreOpenError | StoreDamageError {
  return error instanceof StoreDamageError || (error instanceof StoreOpenError && (error.code === 'damaged' || error.code === 'foreign'));
}

/**
 * The records are closed, and can be opened again when this resolves: then they are between two checkpoints, or empty.
 * `repair` false: a repair has not helped before, so they are set aside without another. Rejects when the disk does not let it.
 */
export async function repairDamage(directory: string, damage: StoreOpenError | StoreDamageError, log: Log, repair: boolean): Promise<DamageReport> {
  log.error({ directory, damage: damage.message }, `the records in ${directory} are damaged: ${damage.message}. Nothing of them is used until they have been repaired from the other replicas; check the disk`);
  const found = { at: Date.now(), damage: damage.message };
  const report = repair ? await tryRepair(directory, log) : null;
  if (report !== null) {
    log.warn({ ...report }, `${report.damagedRecords} of ${report.records} records and ${report.damagedNodes} of ${report.nodes} nodes were damaged and are left out; the other replicas have them`);
    return { ...found, remedy: 'repaired', report, movedTo: null };
  }
  const movedTo = await freeName(directory);
  await rename(directory, movedTo);
  await syncDirectory(dirname(directory));
  log.error({ movedTo }, `the records could not be repaired and were moved to ${movedTo}: the whole state is fetched from the other replicas. Nothing needs that directory any more; remove it when you have looked at it`);
  return { ...found, remedy: 'set aside', report: null, movedTo };
}

/** Null: there is nothing to be made of it. */
async function tryRepair(directory: string, log: Log): Promise<RepairReport | null> {
  try {
    return await repairRecords(directory);
  } catch (error) {
    if (!isDamage(error)) throw error;
    log.warn({ reason: error.message }, `the records cannot be repaired in place: ${error.message}`);
    return null;
  }
}

async function freeName(directory: string): Promise<string> {
  for (let n = 1; ; n++) {
    const name = `${directory}.damaged-${n}`;
    try {
      await stat(name);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return name;
      throw error;
    }
  }
}
