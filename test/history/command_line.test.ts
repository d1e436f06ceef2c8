/** `vrfs-test history check`: what it says of a file, and with which exit code. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { runCommandLine } from './command_line.ts';
import { headerLine, operationLine } from './format.ts';
import { calls, operation } from './samples.ts';

const directory = mkdtempSync(join(tmpdir(), 'vrfs-test-'));
afterAll(() => { rmSync(directory, { recursive: true }); });

const HEADER = headerLine({ started: '2026-01-31T12:00:00.000Z', seconds: 30, replicas: 3, seed: 7, faults: [] });
const written = operationLine(operation('register/r', 1, [10, 20], calls.write('a'), null));

async function run(...args: readonly string[]): Promise<{ readonly code: number; readonly out: string; readonly error: string }> {
  let out = '';
  let error = '';
  const code = await runCommandLine(args, { out: (text) => { out += text; }, error: (text) => { error += text; } });
  return { code, out, error };
}
function file(name: string, ...lines: readonly string[]): string {
  const path = join(directory, name);
  writeFileSync(path, lines.join(''));
  return path;
}

describe('vrfs-test history check', () => {
  it('0 for a history that is linearizable, 1 for one that is not', async () => {
    const good = await run('history', 'check', file('good', HEADER, written));
    expect(good).toMatchObject({ code: 0, error: '' });
    expect(good.out).toContain('linearizable: all 1 objects');
    const bad = await run('history', 'check', file('bad', HEADER, written, operationLine(operation('register/r', 2, [30, 40], calls.read, 'z'))));
    expect(bad.code).toBe(1);
    expect(bad.out).toContain('NOT linearizable: 1 of');
  });

  it('2 for a file that cannot be read, or is none', async () => {
    expect(await run('history', 'check', join(directory, 'absent'))).toMatchObject({ code: 2, out: '', error: expect.stringContaining('absent cannot be read') as string });
    expect(await run('history', 'check', file('cut', HEADER, written.slice(0, -5)))).toMatchObject({ code: 2, error: expect.stringContaining('was cut off') as string });
    expect(await run('history', 'check', file('other', '{}\n'))).toMatchObject({ code: 2, error: expect.stringContaining('is not the header') as string });
  });

  it('2 for a file in which there is nothing, which is not called linearizable', async () => {
    const empty = await run('history', 'check', file('empty', HEADER));
    expect(empty).toMatchObject({ code: 2, out: '' });
    expect(empty.error).toContain('a header and no operation: there is nothing in it to check');
    const failed = operationLine({ process: 1, object: 'register/r', invoke: 1, replica: 2, ...calls.read, outcome: 'fail', error: '503', return: 3 });
    expect(await run('history', 'check', file('failed', HEADER, failed))).toMatchObject({ code: 2, out: '', error: expect.stringContaining('none of the 1 operations') as string });
  });

  it('2 when the command line is wrong, 0 for help', async () => {
    for (const args of [['history', '--seconds', '0'], ['history', '--faults', 'fire'], ['history', 'check'], ['history', '--frobnicate'], ['histories'], ['history', '--replicas', '3', '--witnesses', '2']]) {
      const wrong = await run(...args);
      expect(wrong.code, args.join(' ')).toBe(2);
      expect(wrong.error, args.join(' ')).not.toBe('');
    }
    expect(await run('history', '--help')).toMatchObject({ code: 0, out: expect.stringContaining('Usage: vrfs-test history') as string });
  });
});
