/** Starts a mount and stays, as `vrfs mount` does: to see what becomes of the mount when its starter dies. Arguments: program, mountpoint, 'background' or 'foreground'. */
import { defined } from '../../lib/assert.ts';
import { startMount } from '../../mount/start_mount.ts';

const [program, mountpoint, stay] = process.argv.slice(2);
const handle = await startMount({ servers: ['memory:0'], mountpoint: defined(mountpoint, 'mountpoint'), program, background: stay === 'background', logLevel: 'warn' });
process.send?.({ pid: handle.pid });
setInterval(() => undefined, 1_000_000);
