/** The pacing of scrubs, in virtual time over a real store. */
import { copyFile, readdir, readFile, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { pino } from 'pino';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, expect, it, onTestFinished } from 'vitest';
import { liveTableNames } from '../../checkpoint/level_tables.ts';
import { RecordStore } from '../../checkpoint/record_store.ts';
import { StoreDamageError } from '../../checkpoint/store_damage.ts';
import type { TableReader } from '../../checkpoint/table_scrub.ts';
import { defined } from '../../lib/assert.ts';
import { EMPTY } from '../../lib/bytes.ts';
import { opNumber } from '../../lib/ids.ts';
import { Scrubber, type ScrubClock, type ScrubberOptions } from '../../server/scrubber.ts';
import { temporaryDirectory } from '../checkpoint/store_support.ts';
import { until } from './support.ts';

/** Time passes in sleeps alone, at once. `until` stops it there. */
class VirtualClock implements ScrubClock {
  at = 0;
  until = Infinity;
  busy = 0;
  #resume: (() => void) | null = null;
  now(): number {
    return this.at;
  }
  wall(): number {
    return 1_700_000_000_000 + this.at;
  }
  load(): number {
    return this.busy;
  }
  async sleep(ms: number, signal: AbortSignal): Promise<void> {
    await nextTurn();
    if (signal.aborted) return;
    if (this.at + ms <= this.until) {
      this.at += ms;
      return;
    }
    const wakesAt = this.at + ms;
    await new Promise<void>((resolve) => {
      this.#resume = (): void => {
        if (wakesAt > this.until) return;
        this.at = wakesAt;
        resolve();
      };
      signal.addEventListener('abort', () => { resolve(); }, { once: true });
    });
  }
  /** Goes on to this moment. */
  to(ms: number): void {
    this.until = ms;
    this.#resume?.();
  }
}

const RECORDS = 3000;

async function filled(): Promise<RecordStore> {
  const store = await RecordStore.open({ directory: temporaryDirectory() });
  onTestFinished(() => store.close());
  for (let i = 0; i < RECORDS; i++) store.put(Buffer.from(`key-${i}`), Buffer.alloc(100, i));
  await store.take(opNumber(5), EMPTY);
  return store;
}

function scrubberOf(options: Partial<ScrubberOptions> & { readonly clock: VirtualClock }): Scrubber {
  const scrubber = new Scrubber({
    rate: 50_000, intervalMs: 600_000, log: pino({ level: 'silent' }), onDamage: (damage) => { throw damage; },
    tables: { read: () => Promise.reject(Object.assign(new Error('gone'), { code: 'ENOENT' })), cached: () => Promise.reject(new Error('not asked')) },
    ...options,
  });
  onTestFinished(() => scrubber.detach());
  return scrubber;
}

interface Line {
  readonly level: number;
  readonly msg: string;
}

function logTo(lines: Line[]): ScrubberOptions['log'] {
  return pino({ level: 'info' }, { write: (line: string) => { lines.push(JSON.parse(line) as Line); } });
}

function changed(bytes: Buffer): Buffer {
  const other = Buffer.from(bytes);
  other[other.length >> 1] = (other[other.length >> 1] ?? 0) ^ 1;
  return other;
}

/** A store whose records are in one table, and a copy of what says so, in which that table is a file that cannot be written. */
async function onFullDisk(): Promise<{ store: RecordStore; directory: string; path: string; good: Buffer; unwritable: (is: boolean) => Promise<void> }> {
  const first = await RecordStore.open({ directory: temporaryDirectory() });
  for (let i = 0; i < RECORDS; i++) first.put(Buffer.from(`key-${i}`), Buffer.alloc(100, i));
  await first.take(opNumber(5), EMPTY);
  await first.close();
  const store = await RecordStore.open({ directory: first.directory });
  onTestFinished(() => store.close());
  const name = defined((await liveTableNames(store.directory))?.[0], 'a table');
  const directory = temporaryDirectory();
  for (const file of await readdir(store.directory)) if (/^(?:CURRENT|MANIFEST)/.test(file)) await copyFile(join(store.directory, file), join(directory, file));
  const path = join(directory, name);
  const unwritable = async (is: boolean): Promise<void> => {
    await rm(path, { force: true });
    await (is ? symlink('/dev/full', path) : copyFile(join(store.directory, name), path));
  };
  await unwritable(true);
  return { store, directory, path, good: await readFile(join(store.directory, name)), unwritable };
}

describe('a scrubber', () => {
  it('takes as long for a pass as its rate says, and begins the next an interval after it began', async () => {
    const clock = new VirtualClock();
    clock.until = 300_000;
    const scrubber = scrubberOf({ clock });
    scrubber.attach(await filled());
    await until(() => scrubber.status().passes === 1, 'a pass');
    const { last, bytes } = scrubber.status();
    expect(last).toMatchObject({ number: 1, asked: false, end: 'complete', progress: 1, op: 5, records: RECORDS, startedAt: 1_700_000_060_000 });
    const seconds = ((last?.endedAt ?? 0) - (last?.startedAt ?? 0)) / 1000;
    expect(seconds).toBeCloseTo(bytes / 50_000, 0);
    expect(scrubber.status()).toMatchObject({ state: 'resting', pass: null, lastCompleteAt: last?.endedAt });
    clock.to(1_000_000);
    await until(() => scrubber.status().passes === 2, 'another pass');
    expect(scrubber.status().last?.startedAt).toBe(1_700_000_660_000);
  });

  it('takes an eighth of its rate while the replica is busy, unless it was asked for', async () => {
    const clock = new VirtualClock();
    clock.busy = 0.9;
    clock.until = 300_000;
    const scrubber = scrubberOf({ clock });
    scrubber.attach(await filled());
    await until(() => scrubber.status().passes === 1, 'a pass');
    const slow = scrubber.status();
    expect(((slow.last?.endedAt ?? 0) - (slow.last?.startedAt ?? 0)) / 1000).toBeCloseTo((8 * slow.bytes) / 50_000, 0);
    expect(scrubber.ask(1_000_000)).toBe(2);
    await until(() => scrubber.status().passes === 2, 'the pass that was asked for');
    const { last } = scrubber.status();
    expect(last).toMatchObject({ number: 2, asked: true, rate: 1_000_000, end: 'complete' });
    expect(((last?.endedAt ?? 0) - (last?.startedAt ?? 0)) / 1000).toBeCloseTo((last?.bytes ?? 0) / 1_000_000, 0);
  });

  it('breaks a pass off for one that is asked for, which begins at the beginning', async () => {
    const clock = new VirtualClock();
    clock.until = 61_000;
    const scrubber = scrubberOf({ clock });
    scrubber.attach(await filled());
    await until(() => (scrubber.status().pass?.progress ?? 0) > 0.5, 'a pass is under way');
    expect(scrubber.status().pass?.records).toBeLessThan(RECORDS);
    clock.until = 10_000_000;
    expect(scrubber.ask()).toBe(2);
    await until(() => scrubber.status().last?.number === 2, 'the pass that was asked for');
    expect(scrubber.status()).toMatchObject({ passes: 1, last: { end: 'complete', records: RECORDS, asked: true } });
  });

  it('with rate 0 reads nothing unless asked', async () => {
    const clock = new VirtualClock();
    clock.until = 1e9;
    const scrubber = scrubberOf({ clock, rate: 0 });
    scrubber.attach(await filled());
    expect(scrubber.status()).toMatchObject({ state: 'off', pass: null, passes: 0 });
    scrubber.ask();
    await until(() => scrubber.status().passes === 1, 'the pass that was asked for');
    expect(scrubber.status().state).toBe('off');
  });

  it('waits while there is no checkpoint to read, and ends when it is detached', async () => {
    const clock = new VirtualClock();
    const scrubber = scrubberOf({ clock });
    clock.until = 70_000;
    scrubber.attach({ directory: (await filled()).directory, pin: () => null });
    await until(() => clock.at > 69_000, 'time passes');
    expect(scrubber.status().state).toBe('running');
    await scrubber.detach();
    expect(scrubber.status()).toMatchObject({ pass: null, passes: 0, last: { end: 'broken off', records: 0 } });
  });

  it('tells of damage once, and reads no more until another store is attached', async () => {
    const clock = new VirtualClock();
    const found: StoreDamageError[] = [];
    const scrubber = scrubberOf({ clock, onDamage: (damage) => { found.push(damage); } });
    const store = await filled();
    const damage = new StoreDamageError('record', 'the record with the key 00 is missing');
    scrubber.attach({ directory: store.directory, pin: () => { throw damage; } });
    await until(() => found.length === 1, 'the damage is told');
    expect(scrubber.status()).toMatchObject({ state: 'halted', damages: 1, passes: 0, lastDamage: { damage: damage.message }, last: { end: 'damage', damage: damage.message } });
    await scrubber.detach();
    scrubber.attach(store);
    scrubber.ask();
    await until(() => scrubber.status().passes === 1, 'a pass over the repaired store');
    expect(found).toEqual([damage]);
  });

  it('is not ended by an error that is no damage', async () => {
    const clock = new VirtualClock();
    const scrubber = scrubberOf({ clock });
    const store = await filled();
    let fails = true;
    scrubber.attach({
      directory: store.directory,
      pin: () => {
        if (fails) throw new Error('Database is not open');
        return store.pin();
      },
    });
    await until(() => scrubber.status().last?.end === 'broken off', 'the pass is broken off');
    fails = false;
    await until(() => scrubber.status().passes === 1, 'a later pass');
  });

  it('says once that the disk does not take a table again, reads all the rest, and tries again in the next pass', async () => {
    const clock = new VirtualClock();
    clock.until = 300_000;
    const lines: Line[] = [];
    const { store, directory, path, good, unwritable } = await onFullDisk();
    let rotten = true;
    const tables: TableReader = { read: () => Promise.resolve({ bytes: rotten ? changed(good) : good, direct: true }), cached: () => Promise.resolve(good) };
    const scrubber = scrubberOf({ clock, tables, log: logTo(lines) });
    const errors = (): string[] => lines.filter(({ level }) => level >= 40).map(({ msg }) => msg);
    scrubber.attach({ directory, pin: () => store.pin() });
    await until(() => scrubber.status().last !== null, 'a pass');
    expect(scrubber.status()).toMatchObject({
      state: 'resting', passes: 1, damages: 0, rewrittenTables: 0, unwrittenTables: 1, lastDamage: null,
      last: { end: 'complete', records: RECORDS, tables: 1, rewrittenTables: 0, unwrittenTables: 1, error: null },
    });
    expect(errors()).toEqual([expect.stringMatching(/^the disk has lost a part of the table \d+\.ldb of the database, and writing it again failed: ENOSPC.*It is whole in memory alone.*make room or replace the disk/)]);

    // In an hour, not in a minute.
    clock.to(700_000);
    await until(() => scrubber.status().passes === 2, 'another pass');
    expect(scrubber.status().last?.startedAt).toBe(1_700_000_660_000);
    expect(scrubber.status().unwrittenTables).toBe(1);
    expect(errors()).toHaveLength(1);

    await unwritable(false);
    clock.to(1_300_000);
    await until(() => scrubber.status().passes === 3, 'a pass with room on the disk');
    expect(scrubber.status()).toMatchObject({ rewrittenTables: 1, unwrittenTables: 0, damages: 0 });
    expect((await readFile(path)).equals(good)).toBe(true);
    expect(errors()).toHaveLength(2);
    rotten = false;
    clock.to(1_900_000);
    await until(() => scrubber.status().passes === 4, 'a pass over a sound table');
    expect(scrubber.status()).toMatchObject({ rewrittenTables: 1, unwrittenTables: 0 });
    expect(errors()).toHaveLength(2);
  });

  it('waits longer each time after an error that comes again, says it once, and shows it until a pass is complete', async () => {
    const clock = new VirtualClock();
    const lines: Line[] = [];
    const scrubber = scrubberOf({ clock, intervalMs: 300_000, log: logTo(lines) });
    const store = await filled();
    const begun: number[] = [];
    let error: Error | null = new Error('EIO: i/o error, read');
    scrubber.attach({
      directory: store.directory,
      pin: () => {
        begun.push(clock.at / 1000);
        if (error !== null) throw error;
        return store.pin();
      },
    });
    const pinnedAt = async (times: number, at: number): Promise<void> => {
      clock.to(at * 1000);
      await until(() => begun.length === times && scrubber.status().state === 'resting', `pass ${times}`);
    };
    for (const [i, at] of [60, 120, 240, 480, 780, 1080].entries()) await pinnedAt(i + 1, at);
    expect(begun).toEqual([60, 120, 240, 480, 780, 1080]);
    expect(scrubber.status()).toMatchObject({ passes: 0, damages: 0, failures: 6, last: { end: 'broken off', error: 'EIO: i/o error, read' } });
    expect(lines.map(({ msg }) => msg)).toEqual(['a scrub was broken off: EIO: i/o error, read. It begins anew in 60 s, later each time that this comes again']);

    error = new Error('EMFILE: too many open files');
    await pinnedAt(7, 1380);
    expect(lines).toHaveLength(2);
    error = null;
    clock.to(1_700_000);
    await until(() => scrubber.status().passes === 1, 'a complete pass');
    expect(scrubber.status()).toMatchObject({ failures: 0, last: { end: 'complete', error: null } });
  });

  it('without an interval between passes waits after an error all the same', async () => {
    const clock = new VirtualClock();
    const scrubber = scrubberOf({ clock, intervalMs: 0 });
    let pins = 0;
    scrubber.attach({
      directory: (await filled()).directory,
      pin: () => {
        pins++;
        throw new Error('EIO: i/o error, read');
      },
    });
    await until(() => clock.at > 1_000_000, 'time passes');
    expect(pins).toBeLessThan(40);
  });
});
