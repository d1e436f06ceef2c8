/** A namespace that is mounted, for one test file: of a group of three processes. */
import { chmod, rm } from 'node:fs/promises';
import path from 'node:path';
import type { MountOptions } from '../../mount/mount_options.ts';
import { startMount } from '../../mount/start_mount.ts';
import type { MountHandle } from '../../mount/start_mount.ts';
import { ReplicaGroup } from './mount_group.ts';
import { temporaryFolder } from './mount_support.ts';

/** A mount process over a namespace in its own memory. */
export const MEMORY_PROGRAM = path.join(import.meta.dirname, '..', '..', 'dist', 'test', 'e2e', 'mount_memory_main.js');

export interface MountedNamespace {
  readonly mounts: readonly MountHandle[];
  readonly group: ReplicaGroup;
  stop(): Promise<void>;
}

/** One group, and a mount of it for each of `options`. */
export async function mountNamespace(...options: readonly Partial<MountOptions>[]): Promise<MountedNamespace> {
  const folder = temporaryFolder('mount');
  // Other users have to get through to the mountpoint.
  await chmod(folder, 0o755);
  const group = await ReplicaGroup.start(path.join(folder, 'replicas'));
  const mounts: MountHandle[] = [];
  const stop = async (): Promise<void> => {
    for (const mount of mounts) await mount.unmount();
    await group.stop();
    await rm(folder, { recursive: true });
  };
  for (const [i, each] of options.entries()) {
    mounts.push(await startMount({ servers: group.servers, mountpoint: path.join(folder, `mnt${i}`), options: each, logFile: path.join(folder, `mount${i}.log`) }));
  }
  return { mounts, group, stop };
}
