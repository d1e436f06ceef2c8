/** Names of files and directories, durably. */
import { constants, type PathLike } from 'node:fs';
import { open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { makeDirectories } from '../lib/make_directories.ts';

/** After a file was made, renamed or removed: its name is durable only when the directory is. */
export async function syncDirectory(directory: PathLike): Promise<void> {
  const handle = await open(directory, constants.O_RDONLY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** None of those that are made may go with the power, and what a replica has promised with them. See makeDirectories. */
export async function makeDirectoriesDurably(directory: string, mode?: number): Promise<void> {
  for (const made of makeDirectories(directory, mode).reverse()) await syncDirectory(dirname(made));
}
