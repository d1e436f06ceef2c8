/** The benchmark against other systems, with vrfs alone and short runs: that it measures, and that it leaves nothing behind. */
import { spawn, spawnSync, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { PeersReport } from '../bench/peers/peers.ts';
import type { Report } from '../bench/report.ts';
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

/** Command lines that name it. */
function processesOf(path: string): string[] {
  const { status, stdout, error } = spawnSync('ps', ['-eo', 'args'], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`ps does not say what runs: ${String(error)}`);
  expect(stdout).toContain('ps -eo args');
  return stdout.split('\n').filter((line) => line.includes(path));
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

it('measures transfers of a small state, and says of each figure with a target whether it is met', async () => {
  const child = spawn(process.execPath, [join(REPOSITORY, 'dist/test/bench/main.js'), 'transfer', '--quick', '--rounds', '1', '--json'], { cwd: REPOSITORY });
  let [out, err] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => { out += chunk.toString(); });
  child.stderr.on('data', (chunk: Buffer) => { err += chunk.toString(); });
  const [code] = (await once(child, 'close')) as [number | null];
  expect(code, err).toBe(0);
  const { rows } = JSON.parse(out) as Report;
  const judged = rows.filter((r) => r.target !== undefined);
  expect(judged).toHaveLength(9);
  expect(judged.filter((r) => typeof r.ok !== 'boolean')).toEqual([]);
  expect(rows.every((r) => Number.isFinite(r.value))).toBe(true);
  // Bytes do not depend on the machine.
  expect(rows.filter((r) => r.unit === 'ratio' || r.unit === 'bytes').filter((r) => r.ok === false)).toEqual([]);
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
  expect(processesOf(directory)).toEqual([]);
});
