/** Who is asked for what: donors that are slow, silent, busy, and many. */
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { EMPTY } from '../../lib/bytes.ts';
import { digest, opNumber } from '../../lib/ids.ts';
import { MemoryTable } from '../../lib/memory_table.ts';
import { DonorPool, type PooledDonor } from '../../checkpoint/donor_pool.ts';
import { FetchFailed, type DonorConnection, type FetchProgress } from '../../checkpoint/fetch_report.ts';
import type { RecordStore, RecordStoreOptions } from '../../checkpoint/record_store.ts';
import { decodeRequest, encodeWait } from '../../checkpoint/transfer_messages.ts';
import { connect, expectSame, openStore } from './store_support.ts';
import { fileKey } from './tree_support.ts';

interface Made {
  readonly donor: RecordStore;
  readonly fetcher: RecordStore;
  readonly model: MemoryTable;
}

/** A donor with so many records, and a fetcher with none. */
async function made(records: number, fetcher: RecordStoreOptions['fetcher'] = {}, donorOptions: Partial<RecordStoreOptions> = {}): Promise<Made> {
  const donor = await openStore(donorOptions);
  const model = new MemoryTable();
  for (let i = 0; i < records; i++) for (const table of [donor, model]) table.put(fileKey(i, 0), Buffer.alloc(80, i));
  await donor.take(opNumber(1), EMPTY);
  return { donor, fetcher: await openStore({ fetcher: { maxAnswerBytes: 4000, ...fetcher } }), model };
}

async function arrives({ donor, fetcher, model }: Made, donors: DonorConnection[], onProgress?: (p: FetchProgress) => void): ReturnType<RecordStore['fetch']> {
  const target = donor.checkpoint;
  if (target === null) throw new Error('the donor has a checkpoint');
  const report = await fetcher.fetch(target, donors, onProgress === undefined ? {} : { onProgress });
  expect(fetcher.checkpoint).toEqual(target);
  expectSame(fetcher, model);
  return report;
}

function named(name: string, request: DonorConnection['request'], lastResort = false): DonorConnection {
  return { name, request, lastResort };
}

describe('the load', () => {
  test('is spread over the donors, and several are asked at once', async () => {
    const world = await made(6000);
    let underWay = 0;
    let most = 0;
    const donors = ['a', 'b', 'c', 'd'].map((name) => named(name, async (body) => {
      most = Math.max(most, ++underWay);
      const answer = await world.donor.serve(body);
      underWay--;
      return answer;
    }));
    const report = await arrives(world, donors);
    expect(most).toBeGreaterThan(3);
    for (const donor of report.donors) {
      expect(donor.bytesReceived).toBeGreaterThan(report.bytesReceived / 8);
      expect(donor.bytesReceived).toBeLessThan(report.bytesReceived / 2);
    }
  });

  test('is less on a donor that says now and then that it has others to serve', async () => {
    const most = async (putOff: boolean): Promise<number> => {
      const world = await made(6000);
      let underWay = 0;
      let seen = 0;
      let asked = 0;
      await arrives(world, [named('a', async (body) => {
        underWay++;
        // What was sent before it said so does not count.
        if (asked > 8) seen = Math.max(seen, underWay);
        const answer = ++asked === 3 && putOff ? encodeWait(1) : await world.donor.serve(body);
        underWay--;
        return answer;
      })]);
      expect(asked).toBeGreaterThan(20);
      return seen;
    };
    expect(await most(false)).toBe(4);
    expect(await most(true)).toBe(2);
  });

  test('is as many at once again after one stall, in which all that was under way came too late', async () => {
    const world = await made(6000, { answerMs: 200 });
    let asked = 0;
    let underWay = 0;
    let most = 0;
    let release = (): void => undefined;
    const stall = new Promise<void>((resolve) => { release = resolve; });
    const report = await arrives(world, [named('a', async (body, signal) => {
      underWay++;
      asked++;
      if (asked > 20) most = Math.max(most, underWay);
      // It hangs until the last of the four has been given up.
      if (asked >= 8 && asked < 12) {
        if (asked === 11) signal.addEventListener('abort', () => { release(); });
        await stall;
      }
      const answer = await world.donor.serve(body);
      underWay--;
      return answer;
    })]);
    expect(report.donors[0]?.error).toBe('no whole answer within 200 ms');
    expect(most).toBe(4);
  });

  test('is not put on the primary while another donor is left', async () => {
    const world = await made(2000);
    const { donor } = world;
    const idle = await arrives(world, [named('primary', (b) => donor.serve(b), true), connect('backup', donor)]);
    expect(idle.donors.map(({ requests }) => requests > 0)).toEqual([false, true]);

    const other = await made(2000);
    let left = 5;
    const vanishing = named('backup', (b) => (left-- > 0 ? other.donor.serve(b) : Promise.reject(new Error('gone'))));
    const report = await arrives(other, [named('primary', (b) => other.donor.serve(b), true), vanishing]);
    expect(report.donors[0]?.requests).toBeGreaterThan(0);
    expect(report.donors[1]?.error).toBe('gone');
  });

  test('is bounded by the donor\'s rate for all fetchers together', async () => {
    const bytesPerSecond = 400_000;
    const world = await made(3000, {}, { pace: { bytesPerSecond, othersMs: null } });
    const second = await openStore({ fetcher: { maxAnswerBytes: 4000 } });
    const begun = performance.now();
    const target = world.donor.checkpoint;
    if (target === null) throw new Error('the donor has a checkpoint');
    const [first, other] = await Promise.all([arrives(world, [connect('d', world.donor)]), second.fetch(target, [connect('d', world.donor)])]);
    const seconds = (performance.now() - begun) / 1000;
    // The last answers of both need not have been paid for; a machine that is slow only gives less.
    expect((first.bytesReceived + other.bytesReceived - 4 * 8000) / seconds).toBeLessThan(bytesPerSecond);
    expect(world.donor.status().donor.deferred).toBeGreaterThan(0);
    expectSame(second, world.model);
  });
});

describe('a donor', () => {
  test('that never answers is given up within a bound, and what it was asked for comes from another', async () => {
    const world = await made(1500, { answerMs: 30 });
    let asked = 0;
    const silent = named('silent', () => {
      asked++;
      return new Promise<Buffer>(() => undefined);
    });
    const report = await arrives(world, [silent, connect('good', world.donor)]);
    expect(report.donors[0]).toMatchObject({ bytesReceived: 0, error: 'no whole answer within 30 ms' });
    expect(asked).toBeGreaterThan(0);
    expect(asked).toBeLessThanOrEqual(4);
  });

  test('alone that never answers: the transfer fails within a bound', async () => {
    const world = await made(10, { answerMs: 20 });
    const silent = named('silent', () => new Promise<Buffer>(() => undefined));
    await expect(arrives(world, [silent])).rejects.toThrow(FetchFailed);
  });

  test('behind a slow line is asked for less until its answers come in time', async () => {
    const world = await made(1500, { maxAnswerBytes: 4 << 20, answerMs: 200 });
    const sizes: number[] = [];
    // So many bytes come through in time, and no more.
    const slow = named('slow', async (body, signal) => {
      const answer = await world.donor.serve(body);
      sizes.push(answer.length);
      if (answer.length < 100_000) return answer;
      return new Promise<Buffer>((_resolve, reject) => { signal.addEventListener('abort', () => { reject(new Error('too late')); }); });
    });
    await arrives(world, [slow]);
    expect(Math.max(...sizes)).toBeGreaterThan(100_000);
  });

  test('that puts everybody off is left alone for so long, and given up when it does so for ever', async () => {
    const world = await made(800);
    let left = 3;
    const busy = named('busy', (body) => (left-- > 0 ? Promise.resolve(encodeWait(10)) : world.donor.serve(body)));
    const report = await arrives(world, [busy]);
    expect(report.donors[0]?.error).toBeNull();

    const other = await made(800, { deferMs: 30 });
    const never = named('never', () => Promise.resolve(encodeWait(1)));
    const second = await arrives(other, [never, connect('good', other.donor)]);
    expect(second.donors[1]?.bytesReceived).toBeGreaterThan(0);
    await expect((await openStore({ fetcher: { deferMs: 30 } })).fetch({ op: opNumber(1), root: other.donor.checkpoint?.root ?? fail() }, [never])).rejects.toThrow(/put this replica off/);
  });
});

describe('an answer that comes slowly', () => {
  const ANSWER = Buffer.from([0, 0]);
  const KIB = 1024;
  const limits = { maxAnswerBytes: 2048 * KIB, answerMs: 10_000, deferMs: 60_000, requestsPerDonor: 1 };
  const target = { op: opNumber(1), root: digest('r'.repeat(32)) };

  /** A request to a donor of which so many KiB arrive in each ten seconds; after the last of them the answer is whole, or if `whole` is not said nothing comes any more. */
  async function asked(arriving: readonly number[], whole: boolean): Promise<{ answered: boolean; donor: PooledDonor; milliseconds: number }> {
    vi.useFakeTimers();
    onTestFinished(() => { vi.useRealTimers(); });
    let arrive: (bytes: number) => void = () => undefined;
    let finish: (answer: Buffer) => void = () => undefined;
    const line = named('line', (_body, _signal, arrived) => {
      arrive = arrived;
      return new Promise<Buffer>((resolve) => { finish = resolve; });
    });
    const pool = new DonorPool(target, [line], limits, undefined);
    const donor = pool.next() ?? fail();
    const began = performance.now();
    let ended: number | null = null;
    const answer = pool.ask(donor, { ...target, since: 0, maxBytes: null, top: 'no', items: [] }).finally(() => { ended = performance.now(); });
    for (const kib of arriving) {
      arrive(kib * KIB);
      await vi.advanceTimersByTimeAsync(limits.answerMs);
    }
    if (whole) finish(ANSWER);
    await vi.advanceTimersByTimeAsync(20 * limits.answerMs);
    return { answered: (await answer) !== null, donor, milliseconds: (ended ?? Infinity) - began };
  }

  test('is waited for, and the next one is to be shorter', async () => {
    const { answered, donor, milliseconds } = await asked([64, 3000, 64, 700], true);
    expect(answered).toBe(true);
    expect(milliseconds).toBe(40_000);
    expect(donor).toMatchObject({ failures: 0, usable: true, isSlow: true, answerBytes: 256 * KIB });
    expect((await asked([], true)).donor.answerBytes).toBe(limits.maxAnswerBytes);
  });

  test('is given up when next to nothing of it has come in the last ten seconds', async () => {
    const { answered, donor, milliseconds } = await asked([500, 500, 63, 500], true);
    expect(answered).toBe(false);
    expect(milliseconds).toBe(30_000);
    expect(donor).toMatchObject({ failures: 1, report: { error: 'no whole answer within 30000 ms' } });
  });

  test.each([['nothing comes', []], ['it comes slowly', new Array<number>(12).fill(64)]])('has the primary asked until the next one comes in time: %s', async (_what, arriving) => {
    vi.useFakeTimers();
    onTestFinished(() => { vi.useRealTimers(); });
    let answers = false;
    let arrive: (bytes: number) => void = () => undefined;
    const backup = named('backup', (_body, _signal, arrived) => {
      arrive = arrived;
      return answers ? Promise.resolve(ANSWER) : new Promise<Buffer>(() => undefined);
    });
    const pool = new DonorPool(target, [named('primary', () => Promise.resolve(ANSWER), true), backup], limits, undefined);
    const ask = (donor: PooledDonor): Promise<unknown> => pool.ask(donor, { ...target, since: 0, maxBytes: null, top: 'no', items: [] });
    const asked = pool.next() ?? fail();
    expect(asked.connection.name).toBe('backup');
    const answer = ask(asked);
    expect(pool.next()).toBeNull();
    for (const kib of arriving) {
      arrive(kib * KIB);
      await vi.advanceTimersByTimeAsync(limits.answerMs);
      expect(pool.next()?.connection.name).toBe('primary');
    }
    await vi.advanceTimersByTimeAsync(limits.answerMs);
    expect(await answer).toBeNull();
    expect(pool.next()?.connection.name).toBe('primary');
    answers = true;
    await ask(asked);
    expect(pool.next()?.connection.name).toBe('backup');
  });

  test('is given up after a while, however much of it comes', async () => {
    const { answered, donor, milliseconds } = await asked(new Array<number>(12).fill(64), false);
    expect(answered).toBe(false);
    expect(milliseconds).toBe(80_000);
    expect(donor.failures).toBe(1);
  });
});

describe('how much a donor is asked for', () => {
  const KIB = 1024;
  const limits = { maxAnswerBytes: 2048 * KIB, answerMs: 10_000, deferMs: 60_000, requestsPerDonor: 1 };
  const target = { op: opNumber(1), root: digest('r'.repeat(32)) };

  /** Asks a donor so often, one after the other, and gives the KiB that it was asked for each time; `answers` says what comes then: how many KiB, after how long. */
  async function askedFor(times: number, answers: (nth: number, kib: number) => { readonly kib: number; readonly ms: number }): Promise<number[]> {
    vi.useFakeTimers();
    onTestFinished(() => { vi.useRealTimers(); });
    const asked: number[] = [];
    const line = named('line', (body, signal, arrived) => {
      const request = decodeRequest(body);
      const maxBytes = request.ok ? request.value.maxBytes : fail();
      const { kib, ms } = answers(asked.push(maxBytes / KIB), maxBytes / KIB);
      const trickle = setInterval(() => { arrived(64 * KIB); }, limits.answerMs / 2);
      return new Promise((resolve, reject) => {
        setTimeout(() => { resolve(Buffer.alloc(Math.max(2, kib * KIB))); }, ms);
        signal.addEventListener('abort', () => { reject(new Error('too late')); });
      }).finally(() => { clearInterval(trickle); }) as Promise<Buffer>;
    });
    const pool = new DonorPool(target, [line], limits, undefined);
    for (let i = 0; i < times; i++) {
      const answer = pool.ask(pool.next() ?? fail(), { ...target, since: 0, maxBytes: null, top: 'no', items: [] });
      await vi.advanceTimersByTimeAsync(20 * limits.answerMs);
      await answer;
    }
    return asked;
  }
  const repeat = (kib: number, times: number): number[] => new Array<number>(times).fill(kib);

  test('grows again when it answers in time, to what it was', async () => {
    const asked = await askedFor(16, (nth, kib) => ({ kib, ms: nth === 1 ? 15_000 : 100 }));
    expect(asked).toEqual([2048, ...repeat(256, 4), ...repeat(512, 4), ...repeat(1024, 4), ...repeat(2048, 3)]);
  });

  test('grows after a failure too', async () => {
    const asked = await askedFor(9, (nth, kib) => ({ kib, ms: nth === 1 ? 1e9 : 100 }));
    expect(asked).toEqual([2048, ...repeat(256, 4), ...repeat(512, 4)]);
  });

  test('does not grow by answers that are short anyhow', async () => {
    expect(await askedFor(20, (nth, kib) => (nth === 1 ? { kib, ms: 15_000 } : { kib: 100, ms: 100 }))).toEqual([2048, ...repeat(256, 19)]);
  });

  test('behind a line that is always slow becomes too much ever more rarely', async () => {
    const asked = await askedFor(200, (_nth, kib) => ({ kib, ms: kib > 256 ? 15_000 : 100 }));
    expect(asked.filter((kib) => kib > 256).length).toBeLessThan(8);
    expect(asked.slice(0, 15)).toEqual([2048, ...repeat(256, 4), 512, ...repeat(64, 8), 128]);
  });
});

describe('the beginning of a transfer', () => {
  const LIMITS = { answerMs: 1000 };

  /** Sends just enough for ever, the first time that it is asked at least; that is broken off for the reasons in `brokenOff`. */
  function trickling(world: Made): DonorConnection & { readonly brokenOff: string[] } {
    const brokenOff: string[] = [];
    let asked = 0;
    const request: DonorConnection['request'] = (body, signal, arrived) => {
      if (++asked > 1) return world.donor.serve(body);
      const trickle = setInterval(() => { arrived(1 << 20); }, 50);
      return new Promise<Buffer>((_resolve, reject) => {
        signal.addEventListener('abort', () => {
          clearInterval(trickle);
          brokenOff.push((signal.reason as Error).message);
          reject(signal.reason as Error);
        });
      });
    };
    return { name: 'slow', request, brokenOff };
  }
  /** In time however busy the machine is. */
  function good(world: Made, lastResort = false): DonorConnection {
    return named('good', (body, _signal, arrived) => {
      arrived(1 << 20);
      return world.donor.serve(body);
    }, lastResort);
  }

  test.each([['another', false], ['the primary, where there is no other,', true]])('is not held up by a donor that sends just enough: %s is asked too', async (_who, lastResort) => {
    const world = await made(2000, LIMITS);
    const slow = trickling(world);
    const report = await arrives(world, [slow, good(world, lastResort)]);
    // Broken off, all of it: no time of its own has run out.
    expect(slow.brokenOff).toEqual(['another donor has answered']);
    expect(report.donors.map(({ error }) => error)).toEqual([null, null]);
  });

  test('has the primary asked when the only other one beside a slow one cannot be reached', async () => {
    const world = await made(2000, LIMITS);
    const slow = trickling(world);
    const report = await arrives(world, [slow, named('down', () => Promise.reject(new Error('it is down'))), good(world, true)]);
    expect(slow.brokenOff).toEqual(['another donor has answered']);
    expect(report.donors.map(({ error }) => error)).toEqual([null, 'it is down', null]);
  });

  test('asks others for little, as the own line may be what is slow', async () => {
    const world = await made(2000, { ...LIMITS, maxAnswerBytes: 4 << 20 });
    const sizes: number[] = [];
    const other = good(world);
    await arrives(world, [trickling(world), named('other', (body, signal, arrived) => {
      const request = decodeRequest(body);
      if (request.ok && request.value.top !== 'no') sizes.push(request.value.maxBytes);
      return other.request(body, signal, arrived);
    })]);
    expect(sizes).toEqual([64 << 10]);
  });

  test('takes nothing from the other that does not hash to the root: the slow answer is used', async () => {
    const world = await made(2000, LIMITS);
    let lies = 0;
    let lied = (): void => undefined;
    const hasLied = new Promise<void>((resolve) => { lied = resolve; });
    const late = named('slow', async (body, _signal, arrived) => {
      const trickle = setInterval(() => { arrived(1 << 20); }, 50);
      await hasLied;
      clearInterval(trickle);
      return world.donor.serve(body);
    });
    const liar = named('liar', async (body) => {
      const answer = await world.donor.serve(body);
      lies++;
      // The number of records in the answer's top.
      answer[7] = (answer[7] ?? 0) ^ 1;
      lied();
      return answer;
    });
    const report = await arrives(world, [late, liar]);
    expect(lies).toBe(1);
    expect(report.donors.map(({ error }) => error)).toEqual([null, 'what it says of the root does not hash to it']);
  });

  test('ends when the transfer is broken off with two asked, and when nobody can answer', async () => {
    const world = await made(200, LIMITS);
    const target = world.donor.checkpoint ?? fail();
    const [one, two] = [trickling(world), trickling(world)];
    const abort = new AbortController();
    const second = named('second', (body, signal, arrived) => {
      setImmediate(() => { abort.abort(new Error('not any more')); });
      return two.request(body, signal, arrived);
    });
    await expect(world.fetcher.fetch(target, [one, second], { signal: abort.signal })).rejects.toThrow('not any more');
    expect([one.brokenOff, two.brokenOff]).toEqual([['not any more'], ['not any more']]);
    const down = ['a', 'b'].map((name) => named(name, () => Promise.reject(new Error('it is down'))));
    await expect(world.fetcher.fetch(target, down)).rejects.toThrow(FetchFailed);
  });
});

describe('the end of a transfer', () => {
  const LIMITS = { answerMs: 1000, maxAnswerBytes: 100_000 };
  const TRICKLE_MS = 50;
  /** The nodes that a request asks for; none when it is for the top. */
  function itemsOf(body: Buffer): string[] {
    const request = decodeRequest(body);
    return request.ok && request.value.top === 'no' ? request.value.items.map(({ kind, bits, prefix, full }) => `${kind} ${bits} ${prefix.toString('hex')} ${full}`) : [];
  }

  /** Of what it is asked for, nodes that are not the top come once `until` says so; enough of them arrives meanwhile. It hears no end when it is broken off. */
  function slow(name: string, world: Made, until: (times: number, body: Buffer) => boolean, lastResort = false): DonorConnection & { readonly items: string[]; readonly brokenOff: string[] } {
    const items: string[] = [];
    const brokenOff: string[] = [];
    const request: DonorConnection['request'] = async (body, signal, arrived) => {
      const mine = itemsOf(body);
      items.push(...mine);
      let timer: NodeJS.Timeout | undefined;
      if (mine.length > 0) {
        await new Promise<void>((resolve, reject) => {
          let times = 0;
          timer = setInterval(() => {
            arrived(1 << 20);
            if (until(++times, body)) resolve();
          }, TRICKLE_MS);
          signal.addEventListener('abort', () => { reject(signal.reason as Error); });
        }).catch((reason: unknown) => {
          brokenOff.push((reason as Error).message);
          throw reason;
        }).finally(() => { clearInterval(timer); });
      }
      return world.donor.serve(body);
    };
    return { name, request, lastResort, items, brokenOff };
  }
  function served(name: string, world: Made, lastResort = false): DonorConnection & { readonly items: string[] } {
    const items: string[] = [];
    const request: DonorConnection['request'] = (body) => {
      items.push(...itemsOf(body));
      return world.donor.serve(body);
    };
    return { name, request, lastResort, items };
  }

  test.each([
    ['another', false, {}], ['the primary, where there is no other,', true, {}], ['the primary, where there is no other, and much is left to be asked for,', true, { maxItems: 4 }],
  ])('is not held up by a donor that sends just enough: %s does what it was asked for', async (_who, lastResort, limits) => {
    const world = await made(6000, { ...LIMITS, ...limits });
    const never = slow('slow', world, () => false);
    const good = served('good', world, lastResort);
    const report = await arrives(world, [good, never]);
    expect(never.items.length).toBeGreaterThan(0);
    expect(good.items).toEqual(expect.arrayContaining(never.items));
    expect(new Set(never.brokenOff)).toEqual(new Set(['another donor has answered']));
    // Neither has failed, and nothing was given up.
    expect(report.donors.map(({ error }) => error)).toEqual([null, null]);
    expect(report.recordsChanged).toBe(6000);
  });

  test('asks nobody twice while nobody is slow, and when nobody else has nothing to do', async () => {
    const underWay = new Set<string>();
    let twice = 0;
    const watched = (donor: DonorConnection): DonorConnection => ({
      ...donor,
      request: async (body, signal, arrived) => {
        const items = itemsOf(body);
        for (const item of items) {
          if (underWay.has(item)) twice++;
          underWay.add(item);
        }
        return donor.request(body, signal, arrived).finally(() => { for (const item of items) underWay.delete(item); });
      },
    });
    const quick = await made(6000, { ...LIMITS, answerMs: 60_000 });
    const all = ['a', 'b', 'c'].map((name) => served(name, quick));
    await arrives(quick, all.map(watched));
    const world = await made(3000, { ...LIMITS, answerMs: 4 * TRICKLE_MS, requestsPerDonor: 1 });
    // They all take the time of more than one answer for each.
    const slowOnes = ['a', 'b'].map((name) => slow(name, world, (times) => times > 6));
    await arrives(world, slowOnes.map(watched));
    for (const donor of [...all, ...slowOnes]) expect(donor.items.length).toBeGreaterThan(0);
    expect(slowOnes.flatMap(({ brokenOff }) => brokenOff)).toEqual([]);
    expect(twice).toBe(0);
  });

  test('takes nothing that is wrong from the other: what the slow one sends then is used', async () => {
    const world = await made(2000, LIMITS);
    let lies = 0;
    const late = slow('slow', world, () => lies > 0);
    const liar = named('liar', async (body) => {
      const answer = await world.donor.serve(body);
      if (!itemsOf(body).some((item) => late.items.includes(item))) return answer;
      lies++;
      const wrong = Buffer.from(answer);
      wrong[wrong.length - 1] = (wrong[wrong.length - 1] ?? 0) ^ 1;
      return wrong;
    });
    const report = await arrives(world, [liar, late]);
    expect(lies).toBe(1);
    expect(report.donors[0]?.error).toMatch(/does not hash|cannot be read/);
    expect(report.donors[1]?.error).toBeNull();
    expect(late.brokenOff).toEqual([]);
  });
});

function fail(): never {
  throw new Error('the donor has a checkpoint');
}
