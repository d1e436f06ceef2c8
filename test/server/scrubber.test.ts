/** The pacing of scrubs, in virtual time over a real store. */
import { pino } from 'pino';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, expect, it, onTestFinished } from 'vitest';
import { RecordStore } from '../../checkpoint/record_store.ts';
import { StoreDamageError } from '../../checkpoint/store_damage.ts';
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
});
