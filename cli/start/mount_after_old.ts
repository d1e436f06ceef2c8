/** Mounting where the mount of a start that was killed may still be: its process ends with its starter, a moment later. */
import type { MountHandle } from '../../mount/start_mount.ts';
import { MountpointTaken } from '../../mount/prepare_mountpoint.ts';

/** Tries again for as long as the mountpoint is taken and `waitMore` says true, which is what paces it. @throws MountError, the last attempt's */
export async function mountAfterOld(tryMount: () => Promise<MountHandle>, waitMore: () => Promise<boolean>): Promise<MountHandle> {
  for (;;) {
    try {
      return await tryMount();
    } catch (error) {
      // Whether the old one is still there must not be asked here: it may have gone since the attempt failed for it.
      if (!(error instanceof MountpointTaken) || !await waitMore()) throw error;
    }
  }
}
