/** Which of the two bindings carries a mount. */
import type { Binding, MountLog } from './binding.ts';
import { FuseNativeBinding } from './fuse_native_binding.ts';
import type { MountOptions } from './mount_options.ts';
import type { Vfs } from './vfs.ts';

export function chooseBinding(vfs: Vfs, mountpoint: string, options: MountOptions, log: MountLog): Binding {
  return new FuseNativeBinding(vfs, mountpoint, options, log);
}
