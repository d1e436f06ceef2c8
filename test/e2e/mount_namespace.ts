/** A namespace that is mounted, for one test file: in the memory of the mount process. */
import { chmod, rm } from 'node:fs/promises';
import path from 'node:path';
import type { MountOptions } from '../../mount/mount_options.ts';
import { startMount } from '../../mount/start_mount.ts';
import type { MountHandle } from '../../mount/start_mount.ts';
import { temporaryFolder } from './mount_support.ts';

export const MEMORY_PROGRAM = path.join(import.meta.dirname, '..', '..', 'dist', 'test', 'e2e', 'mount_memory_main.js');

export interface MountedNamespace {
  readonly mount: MountHandle;
  stop(): Promise<void>;
}

export async function mountNamespace(options: Partial<MountOptions>): Promise<MountedNamespace> {
  const folder = temporaryFolder('mount');
  // Other users have to get through to the mountpoint.
  await chmod(folder, 0o755);
  const mount = await startMount({ servers: ['memory:0'], mountpoint: path.join(folder, 'mnt'), options, program: MEMORY_PROGRAM, logFile: path.join(folder, 'log') });
  return {
    mount,
    stop: async () => {
      await mount.unmount();
      await rm(folder, { recursive: true });
    },
  };
}
