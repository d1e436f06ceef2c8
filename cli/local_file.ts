/** Files of this machine, as what `get` writes. */
import { randomBytes } from 'node:crypto';
import { createWriteStream, type Stats } from 'node:fs';
import { realpath, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { interruptible } from './interruptible.ts';

/**
 * Makes `content` the content of the local file `path`, when all of it has arrived: until then, and when it breaks off, what is
 * there stays; Ctrl-C and SIGTERM break it off. Links are followed, the mode is kept. Devices and pipes are written to as they are, and
 * a signal ends the process then: there is nothing to clear up. Rejects with the error of `content` or of the local file system.
 */
export async function replaceLocalFile(path: string, content: (signal?: AbortSignal) => AsyncIterable<Buffer>): Promise<void> {
  const existing = await statOrNull(path);
  if (existing !== null && !existing.isFile()) {
    await pipeline(content(), createWriteStream(path));
    return;
  }
  const target = existing === null ? path : await realpath(path);
  const beside = join(dirname(target), `.${basename(target)}.vrfs-${randomBytes(6).toString('hex')}`);
  const mode = existing === null ? {} : { mode: existing.mode & 0o7777 };
  await interruptible({ signals: ['SIGINT', 'SIGTERM'], message: `interrupted; '${path}' is as it was`, again: 'kills' }, async (signal) => {
    try {
      await pipeline(content(signal), createWriteStream(beside, { flags: 'wx', ...mode }), { signal });
      await rename(beside, target);
    } catch (error) {
      await rm(beside, { force: true });
      throw error;
    }
  });
}

async function statOrNull(path: string): Promise<Stats | null> {
  try {
    return await stat(path);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null;
    throw error;
  }
}
