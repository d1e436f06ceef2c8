/** The sweep itself, over runs that the test makes up; the running group that is set is a real one. */
import { mkdir, readdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable, Writable } from 'node:stream';
import { beforeEach, describe, expect, it } from 'vitest';
import { failureOf } from '../../../cli/failure.ts';
import type { Io } from '../../../cli/io.ts';
import type { RunFigures } from '../../../cli/tune/figures.ts';
import { tuneSettings, type TuneFlags } from '../../../cli/tune/settings.ts';
import { tune, type RunOne, type TuneRequest } from '../../../cli/tune/tune.ts';
import { Administrator } from '../../../client/administrator.ts';
import { TestGroup } from '../../server/group.ts';
import { temporaryDirectory } from '../../server/support.ts';
import { vrfs } from '../harness.ts';

const FLAGS: TuneFlags = { ops: '500,1000,off', bytes: '64M', load: 'creates', inFlight: 64, seconds: 5, repeats: 2, outage: '0', files: 0, replicas: 3, durability: 'disk', option: {}, throughputLossUnder: '5%' };

class Sink extends Writable {
  text = '';
  override _write(chunk: Buffer, _: string, done: () => void): void {
    this.text += chunk.toString();
    done();
  }
}

let directory: string;
let out: Sink;
let err: Sink;
let io: Io;
beforeEach(async () => {
  directory = await temporaryDirectory();
  [out, err] = [new Sink(), new Sink()];
  io = { stdin: Readable.from([]), stdout: out, stderr: err, env: {}, cwd: directory, commandLine: null };
});

async function request(more: Partial<TuneRequest> = {}, flags: Partial<TuneFlags> = {}): Promise<TuneRequest> {
  return { settings: await tuneSettings({ ...FLAGS, ...flags }), out: 'report', parent: '.', json: false, main: 'none', target: null, ...more };
}

function figures(throughput: number): RunFigures {
  return { throughput, p50: 1, p99: 2, p999: 3, cpu: 1, hold: 1, written: 1, checkpoints: 1, journal: 1 };
}
/** 1000 loses 1 %, 500 ten. */
const QUIET: RunOne = ({ ops }) => Promise.resolve(figures(ops === null ? 10_000 : ops === 1000 ? 9900 : 9000));

async function failing(r: TuneRequest, run: RunOne): Promise<ReturnType<typeof failureOf>> {
  return failureOf(await tune(r, io, run).then(() => new Error('it came to its end'), (e: unknown) => e));
}

describe('a sweep', () => {
  it('measures each interval once, then each again, and writes a page, plots and an object for programs', async () => {
    const order: (number | null)[] = [];
    await tune(await request(), io, (interval, context) => {
      order.push(interval.ops);
      return QUIET(interval, context);
    });
    expect(order).toEqual([500, 1000, null, 500, 1000, null]);
    expect((await readdir(join(directory, 'report'))).sort()).toEqual(['checkpoint-cost.svg', 'index.html', 'journal.svg', 'latency.svg', 'throughput.svg', 'tune.json']);
    expect(out.text).toContain('\nRecommended: O = 1000\n');
    expect(out.text).toContain(join(directory, 'report', 'index.html'));
    expect(err.text).toContain('run 6 of 6: O = off, repeat 2: 10000 operations/s');
    expect(JSON.parse(await readFile(join(directory, 'report', 'tune.json'), 'utf8'))).toMatchObject({ format: 'vrfs-tune', recommendation: { chosen: { ops: 1000 } } });
  });

  it('prints the same object for programs, alone', async () => {
    await tune(await request({ json: true }), io, QUIET);
    expect(JSON.parse(out.text)).toEqual(JSON.parse(await readFile(join(directory, 'report', 'tune.json'), 'utf8')));
  });

  it('says that one run each is little', async () => {
    await tune(await request({}, { repeats: 1 }), io, QUIET);
    expect(err.text).toContain('one run each: nothing is known of the spread (--repeats 3)');
    expect(out.text).toContain('Recommended, not beyond doubt: O = 1000');
  });

  it('says how long each was away, and which did not come back in time', async () => {
    await tune(await request({}, { outage: '10s', ops: '500,off', repeats: 1 }), io, ({ ops }) => Promise.resolve({ ...figures(100), recovery: ops === null ? Infinity : 2.5, recoveryBytes: 1 }));
    expect(err.text).toContain('run 1 of 2: O = 500, repeat 1: 100 operations/s, up to date after 2.50 s\n');
    expect(err.text).toContain('run 2 of 2: O = off, repeat 1: 100 operations/s, not up to date within 120 s\n');
    expect(out.text).not.toContain('Infinity');
  });

  it('says that a file system in memory is no disk', async () => {
    await tune(await request({ parent: '/dev/shm' }), io, QUIET);
    expect(err.text).toContain('/dev/shm is in memory (tmpfs): what a disk costs is not measured there');
    err.text = '';
    await tune(await request({ parent: '/dev/shm' }, { durability: 'memory' }), io, QUIET);
    expect(err.text).not.toContain('tmpfs');
  });

  it('writes over its own results, and over nothing else', async () => {
    await tune(await request(), io, QUIET);
    await tune(await request(), io, QUIET);
    await mkdir(join(directory, 'thesis'));
    await writeFile(join(directory, 'thesis', 'index.html'), 'years of work');
    const runs: unknown[] = [];
    const failure = await failing(await request({ out: 'thesis' }), (interval, context) => { runs.push(interval); return QUIET(interval, context); });
    expect(failure).toMatchObject({ exitCode: 5, message: expect.stringContaining('holds other files (index.html)') as string });
    expect(runs).toEqual([]);
    expect(await readFile(join(directory, 'thesis', 'index.html'), 'utf8')).toBe('years of work');
  });

  it('prints what was measured also where it cannot be written, and takes the directory for its own the next time', async () => {
    for (const json of [false, true]) {
      out.text = '';
      const inTheWay = join(directory, 'report', 'index.html');
      const failure = await failing(await request({ json }), async (interval, context) => {
        await mkdir(inTheWay, { recursive: true });
        return QUIET(interval, context);
      });
      expect(failure).toMatchObject({ message: expect.stringContaining(inTheWay) as string });
      if (json) expect(JSON.parse(out.text)).toMatchObject({ format: 'vrfs-tune', recommendation: { chosen: { ops: 1000 } } });
      else expect(out.text).toContain('\nRecommended: O = 1000\n');
      await rmdir(inTheWay);
    }
    await tune(await request(), io, QUIET);
    expect(out.text).toContain(join(directory, 'report', 'index.html'));
  });

  it('refuses directories that are none before anything is started', async () => {
    await writeFile(join(directory, 'file'), '');
    expect(await failing(await request({ out: 'file' }), QUIET)).toMatchObject({ exitCode: 5, remedy: 'give another one: --out <directory>' });
    expect(await failing(await request({ parent: 'absent' }), QUIET)).toMatchObject({ exitCode: 5, message: `${join(directory, 'absent')} is not there` });
    expect(await failing(await request({ out: '/proc/vrfs-tune' }), QUIET)).toMatchObject({ exitCode: 5, message: expect.stringMatching(/^\/proc\/vrfs-tune cannot be the directory of the results: ENOENT/) as string, remedy: 'give another one: --out <directory>' });
    expect(await failing(await request({ parent: '/proc' }), QUIET)).toMatchObject({ exitCode: 5, message: expect.stringMatching(/^\/proc cannot be the directory of the groups: ENOENT/) as string, remedy: 'give another one: --data <directory>' });
  });

  it('ends with the error of a run, and writes no results', async () => {
    expect(await failing(await request(), () => Promise.reject(new RangeError('broken')))).toMatchObject({ exitCode: 70, message: expect.stringContaining('RangeError: broken') as string });
    expect(await readdir(join(directory, 'report'))).toEqual([]);
    expect(out.text).toBe('');
  });

  it('ends when it is told to, and takes back its handlers of signals', async () => {
    const before = process.listenerCount('SIGTERM');
    const failure = await failing(await request(), async (_, { signal }) => {
      const aborted = new Promise((resolve) => { signal.addEventListener('abort', resolve); });
      process.emit('SIGTERM', 'SIGTERM');
      await aborted;
      throw new Error('what broke because of it');
    });
    expect(failure).toMatchObject({ exitCode: 143, message: 'interrupted; the replicas have been ended, and no results were written' });
    expect(process.listenerCount('SIGTERM')).toBe(before);
  });
});

describe('vrfs tune --set', () => {
  async function group(): Promise<{ target: (timeoutMs?: number) => Administrator; present: () => Promise<unknown> }> {
    const made = await TestGroup.make({ flags: { checkpointOps: 700 } });
    await made.startAll();
    const target = (timeoutMs = 10_000): Administrator => new Administrator(made.configuration.members.map((m) => m.address), timeoutMs);
    return { target, present: async () => await target().interval() };
  }

  it('sets what leaves no doubt on the running group', async () => {
    const { target, present } = await group();
    await tune(await request({ target }), io, QUIET);
    expect(await present()).toMatchObject({ ops: 1000, bytes: 64 << 20 });
    expect(out.text).toMatch(/\nSet on the running group: a checkpoint every 1000 operations or 64\.0 MiB of log, since op \d+; before: every 700 operations or 64\.0 MiB of log\n$/);
    out.text = '';
    await tune(await request({ target, json: true }, { ops: '500,off', throughputLossUnder: '20%' }), io, QUIET);
    expect(JSON.parse(out.text)).toMatchObject({ format: 'vrfs-tune', outcome: { set: true } });
    expect(JSON.parse(out.text)).toHaveProperty('outcome.before', { ops: 1000, bytes: 64 << 20, since: expect.any(Number) as number });
    expect(JSON.parse(out.text)).toHaveProperty('outcome.now.ops', 500);
  });

  it('has the whole of --timeout for each question, however long was measured in between', async () => {
    const { target, present } = await group();
    const made: Administrator[] = [];
    const next = (): Administrator => {
      made.push(target(made.length === 0 ? 1000 : 10_000));
      return made.at(-1) as Administrator;
    };
    await tune(await request({ target: next }), io, async (interval, context) => {
      const untilTimeIsOver = async (): Promise<void> => { for (;;) await made[0]?.pause('its time is over'); };
      await expect(untilTimeIsOver()).rejects.toThrow('its time is over');
      return QUIET(interval, context);
    });
    expect(await present()).toMatchObject({ ops: 1000 });
  });

  it('sets nothing that is in doubt, nothing where no interval meets the goals, and fails then, with the results written', async () => {
    const { target, present } = await group();
    expect(await failing(await request({ target }, { repeats: 1 }), QUIET)).toMatchObject({ exitCode: 1 });
    expect(err.text).toContain('Nothing was set: the recommendation is not beyond doubt; to set it all the same: vrfs checkpoint interval --ops 1000 --bytes 67108864');
    expect(await failing(await request({ target }, { throughputLossUnder: '0.1%' }), QUIET)).toMatchObject({ exitCode: 1 });
    expect(err.text).toContain('Nothing was set: no interval that was measured meets the goals');
    expect(await present()).toMatchObject({ ops: 700, since: 0 });
    expect(await readdir(join(directory, 'report'))).toContain('tune.json');
  });

  it('asks the group before it measures for minutes', async () => {
    const runs: unknown[] = [];
    const failure = await failing(await request({ target: () => new Administrator(['127.0.0.1:1'], 300) }), (interval, context) => { runs.push(interval); return QUIET(interval, context); });
    expect(failure).toMatchObject({ exitCode: 3 });
    expect(runs).toEqual([]);
  });

  it('is what --server is for: what is measured is never a running group', async () => {
    const { exitCode, stderr } = await vrfs(['tune', '--server', '127.0.0.1:7101']);
    expect(exitCode).toBe(2);
    expect(stderr).toContain('--server is the group that --set changes');
  });
});
