/** `vrfs tune` as a user meets it: groups of real processes, an outage, and what is left afterwards. Needs a build. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const MAIN = resolve('dist/cli/main.js');
let directory: string;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'vrfs-tune-test-'));
  mkdirSync(join(directory, 'disk'));
});
afterAll(() => {
  rmSync(directory, { recursive: true, force: true });
});

interface Tuning {
  readonly child: ChildProcess;
  readonly output: { stdout: string; stderr: string };
  readonly exited: Promise<number | null>;
}

function tuning(...args: string[]): Tuning {
  const child = spawn(process.execPath, [MAIN, 'tune', '--data', join(directory, 'disk'), ...args], { cwd: directory, stdio: ['ignore', 'pipe', 'pipe'] });
  const output = { stdout: '', stderr: '' };
  child.stdout.on('data', (chunk: Buffer) => { output.stdout += chunk.toString(); });
  child.stderr.on('data', (chunk: Buffer) => { output.stderr += chunk.toString(); });
  return { child, output, exited: new Promise((r) => { child.once('close', (code) => { r(code); }); }) };
}

/** Command lines of processes that were started for a group below `directory`. */
function replicas(): string[] {
  return spawnSync('ps', ['-eo', 'args'], { encoding: 'utf8' }).stdout.split('\n').filter((line) => line.includes(' serve ') && line.includes(directory));
}

interface Spread { readonly median: number | null; readonly values: readonly (number | null)[] }
interface Results {
  readonly points: readonly Readonly<Record<'throughput' | 'p50' | 'p99' | 'checkpoints' | 'journal' | 'written' | 'recovery' | 'recoveryBytes', Spread>>[];
  readonly recommendation: { readonly chosen: unknown; readonly reason: readonly string[]; readonly judgements: readonly unknown[] };
}

describe('vrfs tune', () => {
  it('measures groups of its own under load and through an outage, and leaves nothing but its report', async () => {
    const run = tuning('--ops', '100,off', '--load', 'mixed', '--seconds', '1', '--repeats', '2', '--outage', '1s', '--files', '50', '--in-flight', '8', '--json', '--recovery-under', '100s');
    const code = await run.exited;
    expect(run.output.stderr).toMatch(/run 4 of 4: O = off, repeat 2: \d+ operations\/s, up to date after [\d.]+ s\n/);
    expect(code).toBe(0);
    const results = JSON.parse(run.output.stdout) as Results;
    expect(results.points).toHaveLength(2);
    for (const point of results.points) {
      for (const name of ['throughput', 'p50', 'p99', 'journal', 'recovery', 'recoveryBytes'] as const) {
        expect(point[name].values).toHaveLength(2);
        expect(point[name].values.every((v) => v !== null && v > 0), `${name}: ${JSON.stringify(point[name])}`).toBe(true);
      }
    }
    const [often, off] = results.points;
    expect(often?.checkpoints.median).toBeGreaterThan(0);
    expect(often?.written.median).toBeGreaterThan(0);
    expect(off).toMatchObject({ checkpoints: { median: 0 }, written: { median: 0 } });
    expect(results.recommendation).toMatchObject({ chosen: { ops: 100 }, judgements: [{ ops: 100, recovery: 'met' }] });
    expect(readdirSync(join(directory, 'vrfs-tune')).sort()).toEqual(['checkpoint-cost.svg', 'index.html', 'journal.svg', 'latency.svg', 'recovery-bytes.svg', 'recovery.svg', 'throughput.svg', 'tune.json']);
    expect(JSON.parse(readFileSync(join(directory, 'vrfs-tune', 'tune.json'), 'utf8'))).toEqual(results);
    expect(run.output.stderr).not.toContain('Warning');
    expect(readdirSync(join(directory, 'disk'))).toEqual([]);
    expect(replicas()).toEqual([]);
  });

  it('ends its replicas and removes their data when it is interrupted', async () => {
    const run = tuning('--ops', '100,off', '--seconds', '600', '--out', 'interrupted');
    const end = performance.now() + 60_000;
    while (replicas().length < 3) {
      if (performance.now() > end || run.child.exitCode !== null) throw new Error(`no replicas were started:\n${run.output.stderr}`);
      await new Promise((r) => setTimeout(r, 50));
    }
    run.child.kill('SIGINT');
    expect(await run.exited).toBe(130);
    expect(run.output.stderr).toContain('interrupted; the replicas have been ended, and no results were written');
    expect(readdirSync(join(directory, 'disk'))).toEqual([]);
    expect(replicas()).toEqual([]);
    expect(readdirSync(join(directory, 'interrupted'))).toEqual([]);
  });
});
