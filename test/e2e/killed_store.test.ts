/**
 * Processes that are killed in the midst of a checkpoint or of a transfer, again and again (npm run test:recovery does it longer): what is on the disk is one
 * whole checkpoint, or what a transfer had verified, and the next process goes on from there.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { EMPTY } from '../../lib/bytes.ts';
import { opNumber } from '../../lib/ids.ts';
import { MemoryTable } from '../../lib/memory_table.ts';
import { Prng } from '../../lib/prng.ts';
import type { CheckpointInfo } from '../../checkpoint/checkpoint_info.ts';
import { rootOf } from '../../checkpoint/memory_record_store.ts';
import { RecordStore } from '../../checkpoint/record_store.ts';
import { FETCHER_LIMITS, type KilledTask } from '../recovery/killed_task.ts';
import { applyRound } from '../recovery/rounds.ts';
import { sized } from '../recovery/size.ts';
import { REPOSITORY } from '../support/process_group.ts';

const PROGRAM = join(REPOSITORY, 'dist/test/recovery/killed_process.js');
const CHANGES = 600;
const ALL_END = Buffer.alloc(100, 0xff);
/** Within this a write of these sizes begins, is under way, and ends. */
const WRITE_MICROSECONDS = 3000;

function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'vrfs-killed-'));
  onTestFinished(() => { rmSync(directory, { recursive: true, force: true }); });
  return directory;
}

/** Runs to its end: the steps that it took, or null when it killed itself. */
async function run(task: KilledTask): Promise<number | null> {
  const child = spawn(process.execPath, [PROGRAM, JSON.stringify(task)], { stdio: ['ignore', 'pipe', 'inherit'] });
  let printed = '';
  child.stdout.on('data', (part: Buffer) => { printed += part.toString(); });
  const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  if (signal === 'SIGKILL') return null;
  expect(code, 'the process lives to its end or kills itself').toBe(0);
  return Number(printed);
}

function expectSame(store: RecordStore, model: MemoryTable): void {
  const hex = (all: Iterable<readonly [Buffer, Buffer]>): string[] => [...all].map(([k, v]) => `${k.toString('hex')}=${v.toString('hex')}`);
  expect(hex(store.range(EMPTY, ALL_END, Infinity))).toEqual(hex(model.entries()));
}

async function made(directory: string): Promise<MemoryTable> {
  const store = await RecordStore.open({ directory });
  const model = new MemoryTable();
  applyRound(1, 4 * CHANGES, [store, model]);
  await store.take(opNumber(1), EMPTY);
  await store.close();
  return model;
}

describe('a process that is killed', () => {
  it('in a checkpoint: the store is at that one or the one before, whole, and the next process takes it', async () => {
    const directory = temporaryDirectory();
    let model = await made(directory);
    const measured = temporaryDirectory();
    cpSync(directory, measured, { recursive: true });
    const steps = await run({ directory: measured, left: null, microseconds: 0, work: { type: 'take', op: 2, changes: CHANGES } });
    const r = new Prng(11);
    const seen = { before: 0, after: 0 };
    for (let op = 2, kills = sized(24, 600); kills > 0; kills--) {
      // Half of them while the batch is being written, which is the last step but one.
      const inWrite = r.chance(0.5);
      const all = steps ?? 0;
      const left = inWrite ? all - 1 : r.below(all - 1);
      const work = { type: 'take', op, changes: CHANGES } as const;
      await run({ directory, left, microseconds: r.below(WRITE_MICROSECONDS), work });
      const next = model.clone();
      applyRound(op, CHANGES, [next]);
      const store = await RecordStore.open({ directory });
      const at = store.checkpoint;
      expect([op - 1, op]).toContain(at?.op);
      const here = at?.op === op ? next : model;
      seen[at?.op === op ? 'after' : 'before']++;
      expect(at?.root).toBe(rootOf(here.entries(), opNumber(at?.op ?? 0), EMPTY));
      expectSame(store, here);
      await store.close();
      if (at?.op !== op && r.chance(0.5)) expect(await run({ directory, left: null, microseconds: 0, work })).not.toBeNull();
      else if (at?.op !== op) continue;
      model = next;
      op++;
    }
    expect(seen.before).toBeGreaterThan(5);
    expect(seen.after).toBeGreaterThan(0);
  });

  it('in a transfer: the next asks for less, as much as had been written; in the end it is where the donor is', async () => {
    const root = temporaryDirectory();
    const behind = join(root, 'behind');
    const model = await made(behind);
    const donorDirectory = join(root, 'donor');
    cpSync(behind, donorDirectory, { recursive: true });
    const donor = await RecordStore.open({ directory: donorDirectory });
    onTestFinished(() => donor.close());
    applyRound(2, 8 * CHANGES, [donor, model]);
    const target: CheckpointInfo = await donor.take(opNumber(2), EMPTY);
    let given = 0;
    const server = createServer((incoming, response) => {
      const parts: Buffer[] = [];
      incoming.on('data', (part: Buffer) => parts.push(part));
      incoming.on('end', () => {
        void donor.serve(Buffer.concat(parts)).then((answer) => {
          given += answer.length;
          response.end(answer);
        });
      });
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    onTestFinished(() => new Promise<void>((done) => { server.close(() => { done(); }); }));
    const work = { type: 'fetch', op: target.op, root: target.root, port: (server.address() as AddressInfo).port } as const;
    const fetchOnce = async (directory: string, left: number | null, microseconds = 0): Promise<{ steps: number | null; bytes: number }> => {
      const before = given;
      const steps = await run({ directory, left, microseconds, work });
      return { steps, bytes: given - before };
    };
    const whole = join(root, 'whole');
    cpSync(behind, whole, { recursive: true });
    const { steps, bytes: all } = await fetchOnce(whole, null);
    // What is in hand and not written: the changes up to the next write, and the answer that made them so many.
    const inHand = FETCHER_LIMITS.installBytes + 2 * FETCHER_LIMITS.maxAnswerBytes;
    const r = new Prng(12);
    let between = 0;
    let least = Infinity;
    for (let i = sized(8, 200); i > 0; i--) {
      const directory = join(root, String(i));
      cpSync(behind, directory, { recursive: true });
      // Two of them die, one after the other; the third lives.
      let had = 0;
      for (let life = 0; life < 2; life++) {
        const { bytes, steps: lived } = await fetchOnce(directory, r.below(steps ?? 0), r.below(WRITE_MICROSECONDS));
        had += Math.max(0, bytes - inHand);
        const store = await RecordStore.open({ directory });
        if (store.checkpoint === null) between++;
        else if (lived !== null) expect(store.checkpoint).toEqual(target);
        await store.close();
      }
      const { bytes } = await fetchOnce(directory, null);
      least = Math.min(least, bytes);
      // Full nodes are asked for where a part may be here: their part of a transfer is a fifth at most.
      expect(bytes, `of ${all} with ${had} in hand`).toBeLessThan(all * 1.2 - had + inHand);
      const store = await RecordStore.open({ directory });
      expect(store.checkpoint).toEqual(target);
      expectSame(store, model);
      await store.close();
      rmSync(directory, { recursive: true });
    }
    expect(between).toBeGreaterThan(3);
    expect(least).toBeLessThan(all / 2);
  });
});
