/** The outside of a run: makes the network, runs the run in it, and takes everything away again, however it ended. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Namespaces } from './namespaces.ts';
import type { RunSettings } from './settings.ts';

export type RunOptions = Omit<RunSettings, 'owner' | 'directory'>;

/** Resolves with the exit code: 0, 1 when the run shows a fault or nothing, 130 when it was interrupted. */
export async function runHistory(options: RunOptions, keep: boolean): Promise<number> {
  const directory = mkdtempSync(join(tmpdir(), 'vrfs-history-'));
  const namespaces = new Namespaces(process.pid, options.replicas);
  const settings: RunSettings = { ...options, owner: process.pid, directory };
  // Until there is a run there is nothing to look at.
  let code: number | null = null;
  try {
    namespaces.make();
    // The run dies with this process, and the replicas with the run.
    const run = spawn('ip', [
      'netns', 'exec', namespaces.hub, 'setpriv', '--pdeathsig', 'KILL',
      process.execPath, fileURLToPath(new URL('./run_process.js', import.meta.url)), JSON.stringify(settings),
    ], { stdio: 'inherit' });
    let interrupted = false;
    const interrupt = (): void => {
      interrupted = true;
      run.kill('SIGKILL');
    };
    process.on('SIGINT', interrupt);
    process.on('SIGTERM', interrupt);
    const [exit] = (await once(run, 'exit')) as [number | null];
    process.off('SIGINT', interrupt);
    process.off('SIGTERM', interrupt);
    code = interrupted ? 130 : (exit ?? 1);
    return code;
  } finally {
    namespaces.remove();
    if (code === 1 || (keep && code !== null)) process.stdout.write(`data and logs of the replicas are in ${directory}\n`);
    else rmSync(directory, { recursive: true, force: true });
  }
}
