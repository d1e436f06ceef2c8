/**
 * A group of processes, each in a network namespace of its own, is killed, paused and cut apart while clients use it over HTTP: what they saw
 * is linearizable, and the same history with one acknowledged change taken out is not.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { defined } from '../../lib/assert.ts';
import { checkHistory } from '../history/check_history.ts';
import { operationLine, readHistory } from '../history/format.ts';
import type { Fault } from '../history/nemesis.ts';
import type { Operation } from '../history/operations.ts';
import { seenChanges } from '../history/samples.ts';
import { hits } from '../history/summary.ts';
import { REPOSITORY } from '../support/process_group.ts';

const directory = mkdtempSync(join(tmpdir(), 'vrfs-history-test-'));
const file = join(directory, 'history.jsonl');
const KINDS = ['kill', 'pause', 'partition', 'flap'];
let operations: readonly Operation[] = [];

function history(...args: readonly string[]): { readonly status: number | null; readonly output: string } {
  const run = spawnSync(process.execPath, [join(REPOSITORY, 'dist/test/history/main.js'), 'history', ...args], { encoding: 'utf8' });
  return { status: run.status, output: run.stdout + run.stderr };
}

beforeAll(() => {
  const run = history('--seconds', '15', '--faults', KINDS.join(','), '--seed', '4', '--out', file);
  expect(run.status, run.output).toBe(0);
  expect(run.output).toMatch(/\nlinearizable: all \d+ objects\n/);
  ({ operations } = readHistory(file));
});

afterAll(() => {
  rmSync(directory, { recursive: true });
});

it('every kind of fault meets operations that are under way, and most of what is asked is answered all the same', () => {
  const faults = readFileSync(`${file}.faults`, 'utf8').trim().split('\n').map((line) => JSON.parse(line) as Fault);
  for (const kind of KINDS) {
    const hit = hits(operations, faults.filter((f) => f.kind === kind));
    expect(Math.max(...hit.map((h) => h.touched)), kind).toBeGreaterThan(10);
  }
  const asked = (outcome: Operation['outcome']): number => operations.filter((o) => o.outcome === outcome).length;
  expect(asked('ok')).toBeGreaterThan(operations.length / 2);
  // Its clients go on asking a replica that was killed.
  expect(asked('fail') + asked('info')).toBeGreaterThan(0);
});

it('every operation is part of it, through every replica', () => {
  const done = new Set(operations.filter((o) => o.outcome === 'ok').map((o) => `${o.operation} ${o.replica}`));
  for (const name of ['read', 'write', 'cas', 'create', 'rename', 'delete', 'list', 'get']) {
    for (const replica of [1, 2, 3]) expect(done).toContain(`${name} ${replica}`);
  }
});

it('an acknowledged change that is taken out of the file is missed', () => {
  const changes = seenChanges(operations);
  expect(changes.length).toBeGreaterThan(20);
  for (let i = 0; i < 10; i++) {
    const dropped = defined(changes[Math.floor((i * changes.length) / 10)], 'a change');
    const { violations } = checkHistory(operations.filter((o) => o !== dropped));
    expect(violations.map((v) => v.object)).toEqual([dropped.object]);
  }
  const dropped = defined(changes.at(-1), 'a change');
  const broken = join(directory, 'broken.jsonl');
  writeFileSync(broken, readFileSync(file, 'utf8').replace(operationLine(dropped), ''));
  const checked = history('check', broken);
  expect(checked.status).toBe(1);
  expect(checked.output).toContain(`${dropped.object}: no order of its operations explains the answer of process`);
  expect(checked.output).toContain('NOT linearizable: 1 of');
  expect(history('check', file).status).toBe(0);
});

it('a read that answers what was overwritten before is missed', () => {
  const written = operations.filter((o) => o.operation === 'write' && o.outcome === 'ok');
  const first = defined(written[0], 'a first write');
  const lastRead = defined(operations.findLast((o) => o.operation === 'read' && o.object === first.object), 'a read after all faults');
  if (first.operation !== 'write' || lastRead.outcome !== 'ok') throw new Error('a write and its object are read in the end');
  const value = first.arguments.value;
  expect(lastRead.result).not.toBe(value);
  const stale = operations.map((o): Operation => (o === lastRead && o.outcome === 'ok' ? { ...o, result: value } : o));
  expect(checkHistory(stale).violations.map((v) => v.object)).toEqual([first.object]);
});
