import { describe, expect, it } from 'vitest';
import { mountAfterOld } from '../../cli/start/mount_after_old.ts';
import { MountError } from '../../mount/binding.ts';
import { MountpointTaken } from '../../mount/prepare_mountpoint.ts';
import type { MountHandle } from '../../mount/start_mount.ts';

const handle: MountHandle = { pid: 1, mountpoint: '/m', binding: 'kernel', exited: new Promise(() => undefined), unmount: () => Promise.resolve() };
const taken = new MountpointTaken('a vrfs is already mounted at /m', 'vrfs unmount /m');

/** The attempts to mount fail with these, one after the other; then one mounts. */
function failing(...errors: Error[]): { attempts: number; tryMount: () => Promise<MountHandle> } {
  const state = {
    attempts: 0,
    tryMount: async (): Promise<MountHandle> => {
      const error = errors[state.attempts++];
      await Promise.resolve();
      if (error !== undefined) throw error;
      return handle;
    },
  };
  return state;
}

describe('mounting after the mount of a start that was killed', () => {
  it('waits for it to go, also where it goes right after the attempt that it was in the way of', async () => {
    // /m is mounted nowhere here: what was in the way has gone by the time that anybody looks again.
    const start = failing(taken, taken);
    let waits = 0;
    await expect(mountAfterOld(start.tryMount, () => Promise.resolve(++waits > 0))).resolves.toBe(handle);
    expect({ attempts: start.attempts, waits }).toEqual({ attempts: 3, waits: 2 });
  });

  it('says what is in the way when it has waited long enough', async () => {
    const start = failing(taken, taken, taken);
    let left = 1;
    await expect(mountAfterOld(start.tryMount, () => Promise.resolve(left-- > 0))).rejects.toBe(taken);
    expect(start.attempts).toBe(2);
  });

  it('does not wait where something else is wrong', async () => {
    const wrong = new MountError('/m is not empty: its files would be hidden', 'choose an empty directory as the mountpoint');
    const start = failing(wrong);
    await expect(mountAfterOld(start.tryMount, () => Promise.reject(new Error('waited')))).rejects.toBe(wrong);
  });
});
