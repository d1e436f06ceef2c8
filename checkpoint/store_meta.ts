/** Reads what a database is at, or makes it the empty checkpoint of op 0 when there is nothing in it. */
import { opNumber } from '../lib/ids.ts';
import { rootHash } from './hashes.ts';
import { MOVE_AWAY, StoreOpenError, type KeyValueStore } from './key_value_store.ts';
import { META_KEY, READABLE_VERSIONS, decodeMeta, encodeMeta, type Meta } from './store_keys.ts';

export async function writeMeta(store: KeyValueStore, meta: Meta): Promise<void> {
  const batch = store.batch();
  batch.put(META_KEY, encodeMeta(meta));
  await batch.write();
}

/** Rejects with StoreOpenError when the database is not ours, of another version, or damaged. */
export async function readMeta(store: KeyValueStore, directory: string, initialExtra: Buffer): Promise<Meta> {
  const bytes = store.getSync(META_KEY);
  if (bytes === undefined) {
    if (!(await store.isEmpty())) throw foreign(directory);
    const op = opNumber(0);
    const meta: Meta = { top: null, state: { kind: 'checkpoint', info: { op, root: rootHash(op, 0, initialExtra, null), extra: initialExtra, count: 0 } } };
    await writeMeta(store, meta);
    return meta;
  }
  const decoded = decodeMeta(bytes);
  if (decoded === 'foreign') throw foreign(directory);
  if ('version' in decoded) {
    throw new StoreOpenError(
      'version',
      `${directory} has records of format ${decoded.version}, this program reads formats ${READABLE_VERSIONS.join(' and ')}: use the program that wrote it, or ${MOVE_AWAY}`,
    );
  }
  if (!decoded.ok) throw new StoreOpenError('damaged', `${directory} is damaged (${decoded.reason}): ${MOVE_AWAY}`);
  return decoded.value;
}

function foreign(directory: string): StoreOpenError {
  return new StoreOpenError('foreign', `${directory} holds a database of another program, or one that has lost its own description: put the right one back, or ${MOVE_AWAY}`);
}
