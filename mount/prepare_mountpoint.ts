/** What has to be in order before a mount is tried; each thing that is not says what to do. */
import { closeSync, existsSync, openSync, statSync } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { makeDirectories } from '../lib/make_directories.ts';
import { MountError } from './binding.ts';
import type { MountLog } from './binding.ts';
import { isRoot } from './mount_options.ts';
import { isOurs, mountAt, resolveMountpoint, unmountTree } from './mount_table.ts';

/** A mount that does not answer a stat within this time is taken for hung. */
const ANSWER_MS = 3000;

/** A mount of ours is at the mountpoint, or was when it was looked at: one whose process is ending goes away by itself. */
export class MountpointTaken extends MountError {}

/** Checks /dev/fuse and the mountpoint; makes the folder; clears the remains of a mount of ours whose process has died. Returns its path in the mount table, free of symbolic links. @throws MountError, MountpointTaken */
export async function prepareMountpoint(mountpoint: string, log: MountLog): Promise<string> {
  checkDevice();
  checkHelper();
  const target = resolveMountpoint(mountpoint);
  await clearStaleMount(target, log);
  try {
    makeDirectories(target);
  } catch (error) {
    throw new MountError(`${target} cannot be made a directory: ${reason(error)}`, 'choose another mountpoint', { cause: error });
  }
  const present = await readdir(target);
  if (present.length > 0) throw new MountError(`${target} is not empty: its files would be hidden`, 'choose an empty directory as the mountpoint');
  // What is on the way may have been made only now, behind a symbolic link.
  return resolveMountpoint(target);
}

/** Major 10, minor 229, as stat() encodes them. */
const FUSE_DEVICE = (10 << 8) | 229;

/** @throws MountError when this machine, or this user, cannot do FUSE */
export function checkDevice(device = '/dev/fuse'): void {
  try {
    closeSync(openSync(device, 'r+'));
  } catch (error) {
    const code = codeOf(error);
    const remedy = code === 'ENOENT' || code === 'ENODEV' || code === 'ENXIO'
      ? 'load the kernel module (modprobe fuse); in a container start it with --device /dev/fuse --cap-add SYS_ADMIN'
      : isRoot() ? 'in a container allow the device: --device /dev/fuse --cap-add SYS_ADMIN' : 'as root: chmod 666 /dev/fuse (what udev does where fuse3 is installed); or mount as root';
    throw new MountError(`${device} cannot be opened: ${reason(error)}`, remedy, { cause: error });
  }
  const { rdev } = statSync(device);
  if (rdev !== FUSE_DEVICE) {
    throw new MountError(`${device} is not the FUSE device (character 10:229)`, `make it anew: rm ${device} && mknod ${device} c 10 229`);
  }
}

/** @throws MountError when an ordinary user has nothing to mount with */
function checkHelper(): void {
  if (isRoot()) return;
  const folders = (process.env['PATH'] ?? '').split(':');
  // The shipped libfuse 2 looks for the older name, which Debian's fuse3 has as a link.
  if (folders.some((folder) => existsSync(path.join(folder, 'fusermount')))) return;
  throw new MountError('mounting as an ordinary user needs fusermount, which is not installed', 'as root: apt-get install fuse3; or mount as root');
}

async function clearStaleMount(target: string, log: MountLog): Promise<void> {
  const entry = mountAt(target);
  const state = await stateOf(target);
  if (entry === undefined) {
    if (state === 'dead') throw new MountError(`${target} lies inside a mount that is dead (its process has ended)`, 'unmount that one first: umount -l <its mountpoint>, or fusermount -u -z as its owner');
    return;
  }
  if (!isOurs(entry)) throw new MountError(`${target} is already a mount (${entry.type} from ${entry.source})`, `choose another mountpoint, or: umount ${target}`);
  if (state === 'alive') throw new MountpointTaken(`a vrfs is already mounted at ${target}`, `vrfs unmount ${target}`);
  if (state === 'hung') throw new MountpointTaken(`the vrfs mounted at ${target} does not answer`, `wait for its group, or take it away: vrfs unmount ${target}`);
  log.warn({ mountpoint: target }, 'the remains of a mount whose process has died: cleared');
  await unmountTree(target, entry.source, log);
}

async function stateOf(target: string): Promise<'alive' | 'dead' | 'hung'> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<'hung'>((resolve) => { timer = setTimeout(() => { resolve('hung'); }, ANSWER_MS); });
  const asked = stat(target).then(() => 'alive' as const, (error: unknown) => {
    const code = codeOf(error);
    // ENOTCONN, "Transport endpoint is not connected": the process behind the mount is gone. ENOENT and the like: nothing there.
    return code === 'ENOTCONN' || code === 'ECONNABORTED' ? 'dead' as const : 'alive' as const;
  });
  try {
    return await Promise.race([asked, late]);
  } finally {
    clearTimeout(timer);
  }
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error ? String(error.code) : undefined;
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
