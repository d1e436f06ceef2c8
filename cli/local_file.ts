/** Files of this machine, as what `get` writes. */
import { randomBytes } from 'node:crypto';
import { createWriteStream, type Stats } from 'node:fs';
import { chmod, chown, lstat, realpath, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { Refused } from './failure.ts';
import { interruptible } from './interruptible.ts';

export interface RemoteFile {
  readonly content: (signal?: AbortSignal) => AsyncIterable<Buffer>;
  /** Its permissions, which a new local file gets. */
  readonly mode: () => Promise<number>;
}

/**
 * Makes `content` the content of the local file `path`, when all of it has arrived: until then, and when it breaks off, what is
 * there stays; Ctrl-C and SIGTERM break it off. Links are followed (one that leads nowhere is refused, as by cp), the mode is kept, and
 * the owner where root replaces a file and the file system allows it; a new one has the mode of the remote one, without the umask. Devices and pipes are written to as they are, and
 * a signal ends the process then: there is nothing to clear up. Rejects with the error of `content` or of the local file system.
 */
export async function replaceLocalFile(path: string, { content, mode: modeOf }: RemoteFile): Promise<void> {
  const existing = await statOrNull(path);
  if (existing !== null && !existing.isFile()) {
    await pipeline(content(), createWriteStream(path));
    return;
  }
  if (existing === null && await isLink(path)) throw new Refused('EEXIST', `'${path}' is a symbolic link that leads nowhere: make what it leads to, or remove it`);
  const target = existing === null ? path : await realpath(path);
  const beside = join(dirname(target), `.${basename(target)}.vrfs-${randomBytes(6).toString('hex')}`);
  // Nobody else's before it has the mode of the one that it replaces, which open(2) would take the umask off.
  const mode = existing === null ? await modeOf() & 0o777 : 0o600;
  await interruptible({ signals: ['SIGINT', 'SIGTERM'], message: `interrupted; '${path}' is as it was`, again: 'kills' }, async (signal) => {
    try {
      await pipeline(content(signal), createWriteStream(beside, { flags: 'wx', mode }), { signal });
      if (existing !== null) await takeOver(beside, existing);
      await rename(beside, target);
    } catch (error) {
      await rm(beside, { force: true });
      throw error;
    }
  });
}

async function takeOver(path: string, { uid, gid, mode }: Stats): Promise<void> {
  // Before the mode: a new owner clears the set-id bits.
  const theirs = await giveTo(path, uid, gid);
  // Of another owner's file the set-id bits would lend out whoever runs this.
  await chmod(path, mode & (theirs ? 0o7777 : 0o1777));
}

/** A file system that has no owners or gives none away (NFS with root_squash, FUSE, FAT), an owner that this user namespace has no number for. */
const NO_GIVING: ReadonlySet<unknown> = new Set(['EPERM', 'EINVAL', 'ENOSYS', 'EOPNOTSUPP', 'ENOTSUP']);

/** Whether it is theirs then. */
async function giveTo(path: string, uid: number, gid: number): Promise<boolean> {
  const made = await stat(path);
  if (made.uid === uid && made.gid === gid) return true;
  if (process.geteuid?.() !== 0) return false;
  try {
    await chown(path, uid, gid);
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && NO_GIVING.has(error.code)) return false;
    throw error;
  }
}

async function isLink(path: string): Promise<boolean> {
  try {
    return (await lstat(path)).isSymbolicLink();
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return false;
    throw error;
  }
}

async function statOrNull(path: string): Promise<Stats | null> {
  try {
    return await stat(path);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null;
    throw error;
  }
}
