/**
 * A file beside those of the database, from before LevelDB is made to save what it can of a damaged one until the store is
 * marked in its own description as not being a checkpoint: what LevelDB leaves behind is sound as far as it can say itself, so
 * whoever dies in between would take it for whole at the next start.
 */
import { open, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';

/** No name that LevelDB knows: it lets such files be. */
const MARK = 'SALVAGED';

/** Durable when it resolves. */
export async function markSalvaged(directory: string): Promise<void> {
  await (await open(join(directory, MARK), 'a')).close();
  await syncNames(directory);
}

export async function unmarkSalvaged(directory: string): Promise<void> {
  await rm(join(directory, MARK), { force: true });
  await syncNames(directory);
}

export async function isMarkedSalvaged(directory: string): Promise<boolean> {
  try {
    await stat(join(directory, MARK));
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return false;
    throw error;
  }
}

async function syncNames(directory: string): Promise<void> {
  const handle = await open(directory, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
