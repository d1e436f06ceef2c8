/** The benchmark against other systems, with vrfs alone and short runs: that it measures, and that it leaves nothing behind. */
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { PeersReport } from '../bench/peers/peers.ts';
import { REPOSITORY } from '../support/process_group.ts';

let directory: string;
beforeEach(() => { directory = mkdtempSync(join(tmpdir(), 'vrfs-bench-test-')); });
afterEach(() => { rmSync(directory, { recursive: true, force: true }); });

function bench(...options: string[]): { readonly child: ChildProcessWithoutNullStreams; readonly said: () => string; readonly printed: () => string } {
  const child = spawn(process.execPath, [join(REPOSITORY, 'dist/test/bench/main.js'), 'peers', '--only', 'vrfs', '--quick', '--directory', directory, ...options], { cwd: REPOSITORY });
  let [out, err] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => { out += chunk.toString(); });
  child.stderr.on('data', (chunk: Buffer) => { err += chunk.toString(); });
  return { child, said: () => err, printed: () => out };
}

it('measures creates and reads of a group', async () => {
  const { child, said, printed } = bench('--workloads', 'create,read', '--seconds', '0.3', '--json');
  const [code] = (await once(child, 'close')) as [number | null];
  expect(code, said()).toBe(0);
  const r = JSON.parse(printed()) as PeersReport;
  expect(r.cells.map((c) => `${c.workload} ${c.inFlight}`)).toEqual(['create 1', 'create 64', 'read 1', 'read 64']);
  for (const { median } of r.cells) expect(Object.values(median).every((v) => Number.isFinite(v) && v >= 0)).toBe(true);
  expect(r.leftOut).toEqual([]);
  expect(readdirSync(directory)).toEqual([]);
});

it('a signal in the midst of it ends its servers and removes their data', async () => {
  const { child, said } = bench('--seconds', '600');
  const closed = once(child, 'close');
  await Promise.race([closed, new Promise<void>((resolve) => {
    child.stderr.on('data', () => { if (said().includes('starting vrfs')) resolve(); });
  })]);
  // A group exists by now, or comes into being: either is undone.
  child.kill('SIGINT');
  const [, signal] = (await closed) as [number | null, string | null];
  expect(signal, said()).toBe('SIGINT');
  expect(readdirSync(directory)).toEqual([]);
});
