import { describe, expect, it } from 'vitest';
import { defined } from '../../lib/assert.ts';
import { ZERO_DIGEST } from '../../lib/hash.ts';
import { epoch, memberId, opNumber, sessionId, view, type Digest } from '../../lib/ids.ts';
import { MemoryTable } from '../../lib/memory_table.ts';
import { Prng } from '../../lib/prng.ts';
import { makeEntry, type Entry } from '../../vr/entry.ts';
import { configuration } from '../../vr/configuration.ts';
import type { CheckpointId, Superblock } from '../../vr/superblock.ts';
import { CheckpointDisk, DamagedRecord, rootOfRecords, SimulatedCheckpoints } from './checkpoints.ts';
import { EventQueue } from './event_queue.ts';
import { JournalDisk, SimulatedJournal } from './journal.ts';
import { SimulatedSuperblockStore, SuperblockDisk } from './superblock_store.ts';

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
    donorDamaged: () => false,
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
    fetcher.fetch({ donors: [memberId(0)], lastResort: null, target });
    expect(() => fetcher.table.get(Buffer.from('k'))).toThrow(/being fetched/);
    queue.runTo(31);
    expect(disks[1]?.durable).toBeNull();
    away.add(0);
    queue.runTo(200);
    expect(log).toEqual(['0 durable 9', '1 failed']);
    away.clear();
    fetcher.fetch({ donors: [memberId(0)], lastResort: null, target });
    queue.runTo(300);
    expect(log.at(-1)).toBe('1 installed 9');
    expect(fetcher.table.get(Buffer.from('k'))?.toString()).toBe('v');
  });
});

describe('records that rot', () => {
  const key = (i: number): Buffer => Buffer.from([i]);

  function settled(): CheckpointHarness & { readonly port: SimulatedCheckpoints; readonly disk: CheckpointDisk } {
    const h = checkpointHarness();
    const port = defined(h.ports[0], 'port');
    for (let i = 0; i < 20; i++) port.table.put(key(i), Buffer.from(`value ${i}`));
    port.take(AT(1));
    h.queue.runTo(20);
    return { ...h, port, disk: defined(h.disks[0], 'disk') };
  }

  it('are met when they are read, alone or in a range, and not before', () => {
    const { port, disk } = settled();
    disk.rotten.add(key(5).latin1Slice());
    expect(port.table.get(key(4))?.toString()).toBe('value 4');
    expect(port.table.range(key(6), key(9), 10)).toHaveLength(3);
    expect(() => port.table.get(key(5))).toThrow(DamagedRecord);
    expect(() => port.table.range(key(0), key(9), 10)).toThrow(DamagedRecord);
  });

  it('are whole again when they were written anew', () => {
    const { port, disk, queue } = settled();
    disk.rotten.add(key(5).latin1Slice());
    port.table.put(key(5), Buffer.from('new'));
    expect(port.table.get(key(5))?.toString()).toBe('new');
    port.take(AT(2));
    queue.runTo(queue.now + 20);
    expect(port.table.get(key(5))?.toString()).toBe('new');
    expect(disk.rotten.size).toBe(0);
  });

  it('leave no state behind, and come from a peer', () => {
    const { port, disk, disks, ports, queue, log } = settled();
    const target = defined(disk.durable ?? undefined, 'checkpoint');
    const other = defined(disks[1], 'other disk');
    defined(ports[1], 'other').fetch({ donors: [memberId(0)], lastResort: null, target });
    queue.runTo(queue.now + 100);
    expect(disk.rot(new Prng(7))).toBe(true);
    const lost = disk.rotten.size;
    port.crash();
    disk.scrub();
    expect([disk.durable, disk.image.size, disk.rotten.size]).toEqual([null, 20 - lost, 0]);
    port.fetch({ donors: [memberId(1)], lastResort: null, target });
    queue.runTo(queue.now + 100);
    expect(log.at(-1)).toBe('0 installed 1');
    expect(rootOfRecords(opNumber(1), port.records())).toBe(target.root);
    expect(other.durable).toEqual(disk.durable);
  });
});

describe('the simulated superblock', () => {
  const NOTHING: CheckpointId = { op: opNumber(0), root: ZERO_DIGEST, entryHash: ZERO_DIGEST, view: view(0), time: 0 };
  const at = (v: number): Superblock => ({
    clusterId: Buffer.alloc(16), memberId: memberId(1), configuration: configuration(epoch(0), [{ id: memberId(1), role: 'voter' as const, address: 'a:1', httpAddress: 'a:2' }], 'disk'),
    incarnation: 1, view: view(v), promisedView: view(0), logView: view(0), instance: Buffer.alloc(16), epochStart: null, heldByAll: opNumber(0), leaseMs: 0, checkpoint: NOTHING, retired: false,
  });

  interface Machine { readonly queue: EventQueue; readonly disk: SuperblockDisk; readonly store: SimulatedSuperblockStore; readonly done: number[]; crash(): void }

  function machine(seed: number, queue = new EventQueue(), disk = new SuperblockDisk(at(0))): Machine {
    const done: number[] = [];
    let alive = true;
    const later = (delay: number, action: () => void): void => queue.after(delay, () => { if (alive) action(); });
    const store = new SimulatedSuperblockStore(disk, { random: new Prng(seed), timing: { syncDelay: () => 10 }, later, kernelLater: later, superblockDurable: (t) => done.push(t) });
    return { queue, disk, done, store, crash: () => { alive = false; store.crash(); } };
  }

  it('is durable when both copies are', () => {
    const { queue, disk, store, done } = machine(1);
    store.write(at(1));
    queue.runTo(6);
    expect([disk.boot().view, disk.current.view, done.length]).toEqual([1, 0, 0]);
    queue.runTo(11);
    expect([disk.boot().view, disk.current.view, done]).toEqual([1, 1, [1]]);
  });

  it('keeps what was durable whenever it crashes and whichever copy rots', () => {
    for (let seed = 0; seed < 200; seed++) {
      const random = new Prng(seed);
      const { queue, disk, store, done, crash } = machine(seed);
      for (let v = 1; v <= 5; v++) store.write(at(v));
      queue.runTo(random.below(60));
      crash();
      if (random.chance(0.7)) disk.damageCopy(random);
      const found = disk.boot().view;
      expect(found).toBeGreaterThanOrEqual(done.at(-1) ?? 0);
      // And once more, from there.
      const again = machine(seed, queue, disk);
      again.store.write(at(9));
      queue.runTo(queue.now + random.below(12));
      again.crash();
      expect([found, 9]).toContain(disk.boot().view);
    }
  });
});
