/** Which of the two bindings carries a mount: the kernel's own protocol where the user may mount, else fuse-native, which mounts through fusermount. */
import type { Binding, MountLog } from './binding.ts';
import type { CallerCredentials } from './caller_credentials.ts';
import { FuseNativeBinding } from './fuse_native_binding.ts';
import { KernelBinding } from './kernel_binding.ts';
import { isRoot } from './mount_options.ts';
import type { MountOptions } from './mount_options.ts';
import type { Vfs } from './vfs.ts';

/** @throws MountError when what the choice needs is missing */
export function chooseBinding(vfs: Vfs, callers: CallerCredentials, mountpoint: string, options: MountOptions, log: MountLog): Binding {
  const kind = options.binding === 'auto' ? (isRoot() ? 'kernel' : 'fuse-native') : options.binding;
  return kind === 'kernel' ? new KernelBinding(vfs, callers, mountpoint, options, log) : new FuseNativeBinding(vfs, mountpoint, options, log);
}
