/**
 * How a data directory becomes one of a revived group, so that a crash at any moment leaves either what was there before or a directory that
 * is refused until the same command has been run again.
 *
 *   reviving.new/   is filled: VERSION, both superblocks, perhaps records/ or journal/. Nothing else is touched; a crash leaves the directory as it was
 *   reviving/       its new name, once all of it is durable: from this rename on the revival is decided, and the directory refused
 *                   (data_directory.ts) until each file of it has been moved to its place. Every move may be repeated
 *   reviving.done/  its name when nothing is left to move: it goes, with what was replaced
 */
import { constants } from 'node:fs';
import { copyFile, link, mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Superblock } from '../vr/superblock.ts';
import { layout, REVIVING_NAME, VERSION_NAME, writeVersion, type Version } from './data_directory.ts';
import { PINS_NAME } from './peer_pins.ts';
import { LOCK_NAME } from './process_lock.ts';
import { syncDirectory } from './directories.ts';
import { COPY_NAMES, formatSuperblock } from './superblock_file.ts';

const PREPARING_NAME = `${REVIVING_NAME}.new`;
const DONE_NAME = `${REVIVING_NAME}.done`;
/** Folders that may be replaced. */
const FOLDERS = ['records', 'journal'] as const;
const replacedName = (folder: string): string => `replaced-${folder}`;

/** Called before each step that changes the disk. For tests, which crash there. */
export type BeforeStep = (step: string) => void;

export interface NewContents {
  readonly version: Version;
  /** Asked for when the folders have been made. */
  readonly superblock: () => Superblock;
  /** Make the records, or the journal, in a directory that is not there yet, durably. Null: the present ones stay. */
  readonly records: ((directory: string) => Promise<void>) | null;
  readonly journal: ((directory: string) => Promise<void>) | null;
}

/** Makes the directory what `contents` says. The caller holds its lock. */
export async function replaceContents(directory: string, contents: NewContents, before: BeforeStep): Promise<void> {
  const { root } = layout(directory);
  const preparing = join(root, PREPARING_NAME);
  await removeLeftovers(root);
  before('prepare');
  await mkdir(preparing, { mode: 0o700 });
  for (const folder of FOLDERS) {
    const make = contents[folder];
    if (make === null) continue;
    before(`make ${folder}`);
    await make(join(preparing, folder));
  }
  before('make superblock');
  await formatSuperblock(preparing, contents.superblock());
  before('make VERSION');
  await writeVersion(preparing, contents.version);
  before('decide');
  await rename(preparing, join(root, REVIVING_NAME));
  await syncDirectory(root);
  await finishRevival(root, before);
}

/** Goes on with a revival that was decided; false: there is none, and what an earlier one has left over is gone. The caller holds the lock. */
export async function finishRevival(directory: string, before: BeforeStep): Promise<boolean> {
  const { root } = layout(directory);
  if (!(await readdir(root)).includes(REVIVING_NAME)) {
    await removeLeftovers(root);
    return false;
  }
  const reviving = join(root, REVIVING_NAME);
  const waiting = await readdir(reviving);
  for (const folder of FOLDERS) {
    if (!waiting.includes(folder)) continue;
    if ((await readdir(root)).includes(folder)) {
      before(`put the old ${folder} aside`);
      await rename(join(root, folder), join(reviving, replacedName(folder)));
    }
    before(`place the ${folder}`);
    await rename(join(reviving, folder), join(root, folder));
  }
  // Whom the old member had met, with which directories: those have become others too.
  before('forget the peers');
  await rm(join(root, PINS_NAME), { force: true });
  for (const name of [...COPY_NAMES, VERSION_NAME]) {
    if (!waiting.includes(name)) continue;
    before(`place ${name}`);
    await rename(join(reviving, name), join(root, name));
  }
  before('sync');
  await syncDirectory(reviving);
  await syncDirectory(root);
  before('end');
  await rename(reviving, join(root, DONE_NAME));
  await syncDirectory(root);
  before('tidy up');
  await removeLeftovers(root);
  return true;
}

async function removeLeftovers(root: string): Promise<void> {
  for (const name of [PREPARING_NAME, DONE_NAME]) await rm(join(root, name), { recursive: true, force: true });
}

/** LevelDB's tables never change once they are written; everything else of it may. */
const TABLE = /\.(?:ldb|sst)$/;
/** Errors of file systems without hard links, or between two of them. */
const NO_LINKS: ReadonlySet<unknown> = new Set(['EPERM', 'EXDEV', 'ENOTSUP', 'EOPNOTSUPP', 'EMLINK', 'ENOSYS']);

/** A second directory with the same records, for looking into them: opening a database changes files beside its tables. */
export async function borrowRecords(from: string, to: string): Promise<void> {
  await mkdir(to, { mode: 0o700 });
  for (const name of await filesOf(from)) {
    if (!TABLE.test(name) || !(await tryLink(join(from, name), join(to, name)))) await copyFile(join(from, name), join(to, name), constants.COPYFILE_FICLONE);
  }
}

async function tryLink(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && NO_LINKS.has(error.code)) return false;
    throw error;
  }
}

/** Not durable before `syncFiles`. */
export async function copyRecords(from: string, to: string): Promise<void> {
  await mkdir(to, { mode: 0o700 });
  for (const name of await filesOf(from)) await copyFile(join(from, name), join(to, name), constants.COPYFILE_FICLONE);
}

async function filesOf(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { withFileTypes: true });
  return entries.filter((e) => e.isFile() && e.name !== LOCK_NAME).map((e) => e.name);
}

/** All files of a directory, and their names. */
export async function syncFiles(directory: string): Promise<void> {
  for (const name of await filesOf(directory)) {
    const handle = await open(join(directory, name), constants.O_RDONLY);
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  }
  await syncDirectory(directory);
}
