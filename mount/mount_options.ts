/** How a namespace is mounted: the choices of a user, and what they are to libfuse. */
import type { Binding } from './binding.ts';

export interface MountOptions {
  /** 'auto': the kernel's own protocol where the user may mount (root), else fuse-native. */
  readonly binding: 'auto' | Binding['kind'];
  /** Users other than the one who mounts may look in too (the kernel checks their permissions). Default: when root mounts. */
  readonly allowOther: boolean;
  readonly readOnly: boolean;
  /**
   * 'strict': what one mount has completed, every other sees at its next call. 'open': an open file may be read from the kernel's cache until it is opened again
   * (close-to-open, as NFS has it); fuse-native can do shared writable mmap only so.
   */
  readonly cache: 'strict' | 'open';
  /** For how long the kernel may believe names and attributes without asking, as NFS clients do. Default 0: it always asks. */
  readonly attributeCacheMs: number;
}

export function mountOptions(given: Partial<MountOptions> = {}): MountOptions {
  return {
    binding: given.binding ?? 'auto',
    allowOther: given.allowOther ?? isRoot(),
    readOnly: given.readOnly ?? false,
    cache: given.cache ?? 'strict',
    attributeCacheMs: given.attributeCacheMs ?? 0,
  };
}

export function isRoot(): boolean {
  return process.getuid?.() === 0;
}

/** The type by which our mounts are known in the mount table. */
export const MOUNT_SUBTYPE = 'vrfs';
export const MOUNT_TYPE = `fuse.${MOUNT_SUBTYPE}`;

/**
 * The source by which the mount of a process is known in the mount table: who takes a mount away by its path has to know that it is still the one that was meant
 * (mount ids and device numbers are given out again at once).
 */
export function mountSource(pid: number): string {
  return `vrfs:${pid}`;
}

const MOUNT_SOURCE = /^vrfs:\d+$/;

export function isMountSource(source: string): boolean {
  return MOUNT_SOURCE.test(source);
}

/**
 * libfuse 2's -o list. default_permissions: the kernel checks modes, with the caller's real groups. use_ino: st_ino is ours, so that hard links and renames are
 * recognised. The time-outs of 0: the kernel asks for names and attributes every time, so that it never shows what another mount has changed. direct_io: the same for contents.
 */
export function fuseOptions(options: MountOptions): string {
  const list = [
    `fsname=${mountSource(process.pid)}`, `subtype=${MOUNT_SUBTYPE}`, 'default_permissions', 'use_ino', 'big_writes',
    `entry_timeout=${options.attributeCacheMs / 1000}`, `attr_timeout=${options.attributeCacheMs / 1000}`, 'negative_timeout=0',
  ];
  if (options.cache === 'strict') list.push('direct_io');
  if (options.allowOther) list.push('allow_other');
  if (options.readOnly) list.push('ro');
  return list.join(',');
}
