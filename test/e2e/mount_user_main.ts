/** Mounts, looks, unmounts, as whichever user runs it; says what it saw. Arguments: program, mountpoint. */
import { readdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { defined } from '../../lib/assert.ts';
import { isMounted } from '../../mount/mount_table.ts';
import { startMount } from '../../mount/start_mount.ts';

const [program, argument] = process.argv.slice(2);
const mountpoint = defined(argument, 'mountpoint');
const mount = await startMount({ servers: ['memory:0'], mountpoint, program, logLevel: 'warn' });
const names = await readdir(mountpoint);
// The root directory is root's: an ordinary user may not write there.
const refusal = await writeFile(path.join(mountpoint, 'file'), 'x').then(() => 'none', (error: unknown) => (error instanceof Error && 'code' in error ? error.code : String(error)));
await mount.unmount();
process.stdout.write(JSON.stringify({ uid: process.getuid?.(), binding: mount.binding, names, refusal, left: isMounted(mountpoint) }));
