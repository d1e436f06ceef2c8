import { describe, expect, it } from 'vitest';
import { defined } from '../../lib/assert.ts';
import { ZERO_DIGEST } from '../../lib/hash.ts';
import { epoch, memberId, opNumber, sessionId, view, type Digest } from '../../lib/ids.ts';
import { MemoryTable } from '../../lib/memory_table.ts';
import { Prng } from '../../lib/prng.ts';
import { makeEntry, type Entry } from '../../vr/entry.ts';
import type { CheckpointId } from '../../vr/superblock.ts';
import { CheckpointDisk, rootOfRecords, SimulatedCheckpoints } from './checkpoints.ts';
import { EventQueue } from './event_queue.ts';
import { JournalDisk, SimulatedJournal } from './journal.ts';

function entries(from: number, to: number, parent: Digest, v = 0): Entry[] {
  const out: Entry[] = [];
  let hash = parent;
  for (let op = from; op <= to; op++) {
    const e = makeEntry({ kind: 'noop', epoch: epoch(0), view: view(v), op: opNumber(op), time: op, session: sessionId(0), slot: 0, seq: 0, body: Buffer.alloc(0) }, hash);
    out.push(e);
    hash = e.hash;
  }
  return out;
}

interface JournalHarness { readonly queue: EventQueue; readonly disk: JournalDisk; readonly journal: SimulatedJournal; readonly done: number[] }

function journalHarness(seed = 1): JournalHarness {
  const queue = new EventQueue();
  const disk = new JournalDisk();
  const done: number[] = [];
  const later = (delay: number, action: () => void): void => queue.after(delay, action);
  const journal = new SimulatedJournal(disk, { random: new Prng(seed), timing: { syncDelay: () => 5 }, later, kernelLater: later, journalDurable: (t) => done.push(t) });
  return { queue, disk, journal, done };
}

describe('the simulated journal', () => {
  it('gathers what comes during a sync into the next group', () => {
    const { queue, disk, journal, done } = journalHarness();
    const all = entries(1, 4, ZERO_DIGEST);
    for (const e of all) journal.append({ type: 'append', entries: [e] });
    queue.runTo(5);
    expect(done).toEqual([1]);
    expect(disk.head).toBe(1);
    queue.runTo(10);
    expect(done).toEqual([1, 4]);
    expect(disk.head).toBe(4);
  });

  it('replaces the tail in one step', () => {
    const { queue, disk, journal } = journalHarness();
    const all = entries(1, 5, ZERO_DIGEST);
    const third = defined(all[2], 'third entry');
    journal.append({ type: 'append', entries: all });
    journal.append({ type: 'install', logView: view(2), base: opNumber(3), baseHash: third.hash, entries: entries(4, 4, third.hash, 2) });
    queue.runTo(20);
    expect([disk.head, disk.logView]).toEqual([4, 2]);
    expect(disk.entries[3]?.view).toBe(2);
  });

  it('loses in a crash only what was not synced, from the end', () => {
    const heads = new Set<number>();
    for (let seed = 0; seed < 60; seed++) {
      const { queue, disk, journal } = journalHarness(seed);
      const all = entries(1, 6, ZERO_DIGEST);
      for (const e of all.slice(0, 2)) journal.append({ type: 'append', entries: [e] });
      queue.runTo(10);
      for (const e of all.slice(2)) journal.append({ type: 'append', entries: [e] });
      queue.runTo(16);
      journal.crash();
      expect(disk.head).toBeGreaterThanOrEqual(3);
      heads.add(disk.head);
    }
    expect([...heads].sort()).toEqual([3, 4, 5, 6]);
  });

  it('is not certain after damage, until the damaged part has been replaced', () => {
    const { queue, disk, journal } = journalHarness();
    const all = entries(1, 5, ZERO_DIGEST);
    journal.append({ type: 'append', entries: all });
    queue.runTo(10);
    disk.damage(2);
    expect(disk.boot()).toMatchObject({ intact: false, entries: all.slice(0, 2) });
    journal.append({ type: 'install', logView: view(1), base: opNumber(1), baseHash: defined(all[0], 'entry').hash, entries: all.slice(1) });
    queue.runTo(20);
    expect(disk.boot()).toMatchObject({ intact: true, entries: all });
  });
});

const AT = (op: number): Omit<CheckpointId, 'root'> => ({ op: opNumber(op), entryHash: ZERO_DIGEST, view: view(0), time: op });

interface CheckpointHarness { readonly queue: EventQueue; readonly disks: readonly CheckpointDisk[]; readonly ports: readonly SimulatedCheckpoints[]; readonly log: string[]; readonly away: Set<number> }

function checkpointHarness(): CheckpointHarness {
  const queue = new EventQueue();
  const log: string[] = [];
  const away = new Set<number>();
  const disks = [new CheckpointDisk([]), new CheckpointDisk([])];
  const later = (delay: number, action: () => void): void => queue.after(delay, action);
  const ports = disks.map((disk, i) => new SimulatedCheckpoints(disk, {
    later, kernelLater: later, checkpointDelay: () => 10, transferDelay: () => 10, keepsPrevious: () => true,
    donor: (id) => (away.has(id) ? null : defined(disks[id], 'donor')),
    checkpointDurable: (id) => log.push(`${i} durable ${id.op}`),
    stateInstalled: (id) => log.push(`${i} installed ${id.op}`),
    stateFetchFailed: () => log.push(`${i} failed`),
    transferEvent: () => undefined,
  }));
  return { queue, disks, ports, log, away };
}

describe('the simulated checkpoints', () => {
  it('give a root that depends on the records only', () => {
    const random = new Prng(5);
    const { queue, disks, ports } = checkpointHarness();
    const port = defined(ports[0], 'port');
    const disk = defined(disks[0], 'disk');
    const model = new MemoryTable();
    for (let op = 1; op <= 30; op++) {
      for (let i = 0; i < 20; i++) {
        const key = Buffer.from([random.below(40)]);
        if (random.chance(0.3)) {
          port.table.delete(key);
          model.delete(key);
        } else {
          const value = random.bytes(5);
          port.table.put(key, value);
          model.put(key, value);
        }
      }
      port.take(AT(op));
      queue.runTo(queue.now + 20);
      expect(disk.durable?.root).toBe(rootOfRecords(opNumber(op), model.entries()));
    }
  });

  it('freeze at the call, and are durable only at the end', () => {
    const { queue, disks, ports, log } = checkpointHarness();
    const port = defined(ports[0], 'port');
    const disk = defined(disks[0], 'disk');
    const key = Buffer.from('k');
    port.table.put(key, Buffer.from('one'));
    port.take(AT(1));
    port.table.put(key, Buffer.from('two'));
    queue.runTo(5);
    expect(disk.durable?.op).toBe(0);
    queue.runTo(20);
    expect(log).toEqual(['0 durable 1']);
    expect(disk.durable?.root).toBe(rootOfRecords(opNumber(1), [[key, Buffer.from('one')]]));
    expect(port.table.get(key)?.toString()).toBe('two');
  });

  it('are fetched from a donor that can be reached, and leave the state between two when they cannot be finished', () => {
    const { queue, disks, ports, log, away } = checkpointHarness();
    const [donor, fetcher] = [defined(ports[0], 'donor'), defined(ports[1], 'fetcher')];
    donor.table.put(Buffer.from('k'), Buffer.from('v'));
    donor.take(AT(9));
    queue.runTo(20);
    const target = defined(disks[0]?.durable ?? undefined, 'target');
    fetcher.fetch({ donors: [memberId(0)], target });
    expect(() => fetcher.table.get(Buffer.from('k'))).toThrow(/being fetched/);
    queue.runTo(31);
    expect(disks[1]?.durable).toBeNull();
    away.add(0);
    queue.runTo(200);
    expect(log).toEqual(['0 durable 9', '1 failed']);
    away.clear();
    fetcher.fetch({ donors: [memberId(0)], target });
    queue.runTo(300);
    expect(log.at(-1)).toBe('1 installed 9');
    expect(fetcher.table.get(Buffer.from('k'))?.toString()).toBe('v');
  });
});
