import { describe, expect, test } from 'vitest';
import { ZERO_DIGEST } from '../../lib/hash.ts';
import { opNumber, view } from '../../lib/ids.ts';
import { Persistence } from '../../vr/persistence.ts';
import type { JournalRecord, Ports } from '../../vr/ports.ts';
import type { Superblock } from '../../vr/superblock.ts';
import { chain, freshSuperblock, testConfiguration } from './group.ts';

/** A disk that writes down what it was asked to do, and makes durable what it is told to. */
class Disk {
  readonly records: JournalRecord[] = [];
  readonly superblocks: Superblock[] = [];
  readonly persistence: Persistence;

  constructor(logView = 0, head = 0) {
    const unused = (): never => { throw new Error('no part of this test'); };
    const ports: Ports = {
      journal: { append: (record) => this.records.push(record), collect: unused },
      superblock: { write: (s) => this.superblocks.push(s) },
      network: { setPeers: unused, send: unused, broadcast: unused, reply: unused, welcomeAgain: unused },
      stateMachine: { execute: unused, sessionStarted: unused, sessionEnded: unused, query: unused, checkpointAsked: unused, housekeeping: unused },
      checkpoints: { table: { get: unused, put: unused, delete: unused, range: unused, find: unused, store: unused }, take: unused, fetch: unused },
      clock: { wall: unused, monotonic: unused }, random: { bytes: unused, uint32: unused }, events: { event: unused },
    };
    this.persistence = new Persistence(ports, { ...freshSuperblock(testConfiguration(3), 1), logView: view(logView) }, view(logView), opNumber(head));
  }
}

const entries = chain(9);

describe('what is durable', () => {
  test('at the start: what was found', () => {
    expect(new Disk(3, 7).persistence.durable).toEqual({ logView: 3, op: 7 });
  });

  test('rises with the journal, not with what it was asked to write', () => {
    const { persistence } = new Disk();
    persistence.append(entries.slice(0, 2));
    persistence.append(entries.slice(2, 5));
    expect(persistence.durable).toEqual({ logView: 0, op: 0 });
    persistence.onJournalDurable(1);
    expect(persistence.durable).toEqual({ logView: 0, op: 2 });
    persistence.onJournalDurable(2);
    expect(persistence.durable).toEqual({ logView: 0, op: 5 });
  });

  test('several records at once: the last one counts', () => {
    const { persistence } = new Disk();
    for (const e of entries) persistence.append([e]);
    persistence.onJournalDurable(6);
    expect(persistence.durable.op).toBe(6);
  });

  test('an install lowers the head and raises the log-view in one step (row 6)', () => {
    const disk = new Disk(0, 0);
    disk.persistence.append(entries.slice(0, 5));
    disk.persistence.install(view(2), opNumber(3), entries[2]?.hash ?? ZERO_DIGEST, chain(1, 'new', 3, entries[2]?.hash, 2));
    expect(disk.records[1]).toMatchObject({ type: 'install', logView: 2, base: 3 });
    disk.persistence.onJournalDurable(1);
    expect(disk.persistence.durable).toEqual({ logView: 0, op: 5 });
    disk.persistence.onJournalDurable(2);
    expect(disk.persistence.durable).toEqual({ logView: 2, op: 4 });
  });

  test('an install of nothing ends at its base', () => {
    const { persistence } = new Disk(0, 5);
    persistence.install(view(1), opNumber(4), entries[3]?.hash ?? ZERO_DIGEST, []);
    persistence.onJournalDurable(1);
    expect(persistence.durable).toEqual({ logView: 1, op: 4 });
  });

  test('what follows an install is of its log-view', () => {
    const { persistence } = new Disk();
    persistence.install(view(4), opNumber(0), ZERO_DIGEST, []);
    persistence.append(entries.slice(0, 1));
    persistence.onJournalDurable(2);
    expect(persistence.durable).toEqual({ logView: 4, op: 1 });
  });

  test('the log-view never goes back (row 5)', () => {
    const { persistence } = new Disk(3);
    expect(() => { persistence.install(view(2), opNumber(0), ZERO_DIGEST, []); }).toThrow('the log-view never goes back');
  });

  test('nothing is not appended', () => {
    expect(() => { new Disk().persistence.append([]); }).toThrow('an append of nothing');
  });
});

describe('actions that wait', () => {
  test('for the journal: run when all that was queued before them is durable, in order', () => {
    const { persistence } = new Disk();
    const ran: string[] = [];
    persistence.afterJournal(() => { ran.push('nothing to wait for'); });
    expect(ran).toEqual(['nothing to wait for']);
    persistence.append(entries.slice(0, 1));
    persistence.afterJournal(() => { ran.push('first'); });
    persistence.append(entries.slice(1, 2));
    persistence.afterJournal(() => { ran.push('second'); });
    persistence.afterJournal(() => { ran.push('third'); });
    expect(ran.length).toBe(1);
    persistence.onJournalDurable(1);
    expect(ran.slice(1)).toEqual(['first']);
    persistence.onJournalDurable(2);
    expect(ran.slice(1)).toEqual(['first', 'second', 'third']);
  });

  test('for the journal: see what is durable by then', () => {
    const { persistence } = new Disk();
    let seen = -1;
    persistence.append(entries.slice(0, 3));
    persistence.afterJournal(() => { seen = persistence.durable.op; });
    persistence.onJournalDurable(1);
    expect(seen).toBe(3);
  });

  test('for the superblock', () => {
    const disk = new Disk();
    const ran: number[] = [];
    disk.persistence.writeSuperblock({ view: view(1) }, () => ran.push(1));
    disk.persistence.writeSuperblock({ view: view(2) });
    disk.persistence.writeSuperblock({ view: view(3) }, () => ran.push(3));
    expect(ran).toEqual([]);
    disk.persistence.onSuperblockDurable(1);
    expect(ran).toEqual([1]);
    disk.persistence.onSuperblockDurable(3);
    expect(ran).toEqual([1, 3]);
  });

  test('the log, then the promise, then the message: a vote\'s order of effects', () => {
    const disk = new Disk();
    const { persistence } = disk;
    let sent = false;
    persistence.append(entries);
    persistence.afterJournal(() => { persistence.writeSuperblock({ view: view(1), promisedView: view(1) }, () => { sent = true; }); });
    expect(disk.superblocks).toEqual([]);
    persistence.onJournalDurable(1);
    expect(disk.superblocks).toMatchObject([{ promisedView: 1 }]);
    expect(sent).toBe(false);
    persistence.onSuperblockDurable(1);
    expect(sent).toBe(true);
  });
});

describe('the superblock', () => {
  test('keeps what was not changed', () => {
    const disk = new Disk();
    disk.persistence.writeSuperblock({ incarnation: 4 });
    disk.persistence.writeSuperblock({ view: view(2) });
    expect(disk.superblocks.at(-1)).toMatchObject({ incarnation: 4, view: 2 });
    expect(disk.persistence.superblock).toEqual(disk.superblocks.at(-1));
  });

  test('never names a log-view that the journal does not hold (rows 5, 6)', () => {
    const disk = new Disk();
    disk.persistence.install(view(3), opNumber(0), ZERO_DIGEST, entries.slice(0, 2));
    disk.persistence.writeSuperblock({ view: view(3) });
    expect(disk.superblocks.at(-1)?.logView).toBe(0);
    disk.persistence.onJournalDurable(1);
    disk.persistence.writeSuperblock({ view: view(4) });
    expect(disk.superblocks.at(-1)?.logView).toBe(3);
  });

  test('its views never go back', () => {
    const { persistence } = new Disk();
    persistence.writeSuperblock({ view: view(5), promisedView: view(4) });
    expect(() => { persistence.writeSuperblock({ view: view(4) }); }).toThrow('the durable view never goes back');
    expect(() => { persistence.writeSuperblock({ promisedView: view(3) }); }).toThrow('the promised view never goes back');
  });
});
