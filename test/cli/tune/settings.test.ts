import { describe, expect, it } from 'vitest';
import { failureOf } from '../../../cli/failure.ts';
import { configOf, duration, intervalText, percentage, tuneSettings, type Interval, type TuneFlags } from '../../../cli/tune/settings.ts';
import { refusal } from '../../../vr/checkpoint_interval.ts';
import { DEFAULT_REPLICA_OPTIONS } from '../../../vr/replica_types.ts';

const GIB = 2 ** 30;
const MIB = 2 ** 20;
const FLAGS: TuneFlags = { ops: '500,1000,off', bytes: '64M', load: 'creates', inFlight: 64, seconds: 5, repeats: 3, outage: '10s', files: 1000, replicas: 3, durability: 'disk', option: {} };

describe('what is to be measured', () => {
  it('is swept from the smallest interval to the largest, without checkpoints last and once', async () => {
    const { intervals } = await tuneSettings({ ...FLAGS, ops: 'off, 1000,500', bytes: '64M,16M' }, 24 * GIB);
    expect(intervals).toEqual([
      { ops: 500, bytes: 16 * MIB }, { ops: 500, bytes: 64 * MIB }, { ops: 1000, bytes: 16 * MIB }, { ops: 1000, bytes: 64 * MIB }, { ops: null, bytes: GIB },
    ]);
    expect(intervals.map((i) => intervalText(i, true))).toEqual(['500 / 16.0 MiB', '500 / 64.0 MiB', '1000 / 16.0 MiB', '1000 / 64.0 MiB', 'off']);
  });

  it('knows goals in the units that people write', async () => {
    expect((await tuneSettings({ ...FLAGS, recoveryUnder: '1500ms', throughputLossUnder: '5%' })).goals).toEqual({ recoveryUnderSeconds: 1.5, lossUnder: 0.05 });
    expect((await tuneSettings(FLAGS)).goals).toEqual({});
    expect([duration('--outage', '2m', 3600), duration('--outage', '10', 3600), duration('--outage', '0.5 s', 3600)]).toEqual([120, 10, 0.5]);
    expect(percentage('--throughput-loss-under', '12.5 %')).toBe(0.125);
  });

  it.each<[Partial<TuneFlags>, string]>([
    [{ ops: '' }, '--ops is empty'],
    [{ ops: '500,500' }, '--ops: 500 is there twice'],
    [{ ops: '500,many' }, "--ops: 'many' is not a whole number from 1 to 10000000, or off"],
    [{ ops: '0,5' }, "--ops: '0' is not"],
    [{ ops: '1000' }, 'there is nothing to compare it with'],
    [{ bytes: '16X' }, "--bytes: '16X' is not a size"],
    [{ bytes: '1K' }, "--bytes: '1K' is not a size from 64.0 KiB"],
    [{ load: 'deletes' }, 'one of creates, mixed, data is possible'],
    [{ inFlight: 5000 }, '--in-flight 5000: 1000 at most'],
    [{ replicas: 4 }, '3 or 5 are possible'],
    [{ outage: 'long' }, "--outage: 'long' is not a time"],
    [{ outage: '2h' }, "--outage: '2h' is not a time"],
    [{ outage: '0', recoveryUnder: '5s' }, '--recovery-under needs an outage'],
    [{ recoveryUnder: '0s' }, "--recovery-under: '0s' is never reached"],
    [{ throughputLossUnder: '100%' }, "'100%' is not a percentage below 100"],
    [{ option: { maxLogEntries: '1500' } }, 'a checkpoint every 1000 operations: at most half of maxLogEntries, 750'],
    [{ option: { maxLogBytes: '100000000' } }, 'at most half of maxLogBytes, 50000000'],
    [{ option: { checkpointOps: '5' } }, '-o checkpointOps: that is decided by the sweep'],
  ])('%j is refused before anything is started', async (flags, message) => {
    const error: unknown = await tuneSettings({ ...FLAGS, ...flags }).catch((e: unknown) => e);
    expect(failureOf(error)).toMatchObject({ exitCode: 2, message: expect.stringContaining(message) as string });
  });

  it('refuses a key that the configuration of replicas does not have', async () => {
    const error: unknown = await tuneSettings({ ...FLAGS, option: { retainEntry: '5' } }).catch((e: unknown) => e);
    expect(failureOf(error)).toMatchObject({ exitCode: 5, message: expect.stringContaining('retainEntry') as string });
  });
});

describe('the configuration of the replicas that are measured', () => {
  const limits = (config: Readonly<Record<string, unknown>>): { maxLogEntries: number; maxLogBytes: number } => ({ maxLogEntries: Number(config['maxLogEntries']), maxLogBytes: Number(config['maxLogBytes']) });

  it.each<Interval>([{ ops: 1, bytes: 64 << 10 }, { ops: 1000, bytes: 64 * MIB }, { ops: 10_000_000, bytes: 64 * GIB }])('has room in the log for %j', async (interval) => {
    const config = configOf(await tuneSettings(FLAGS), interval);
    expect(refusal({ ops: interval.ops ?? 0, bytes: interval.bytes }, limits(config))).toBeNull();
    expect(config).toMatchObject({ checkpointOps: interval.ops, checkpointBytes: interval.bytes });
    expect(limits(config).maxLogEntries).toBeGreaterThanOrEqual(DEFAULT_REPLICA_OPTIONS.maxLogEntries);
  });

  it('keeps the log within the memory of the machine where no checkpoints are taken', async () => {
    const settings = await tuneSettings({ ...FLAGS, replicas: 5 }, 4 * GIB);
    const config = configOf(settings, settings.intervals.at(-1) ?? { ops: 1, bytes: 1 });
    expect(Number(config['checkpointBytes']) * 5).toBeLessThanOrEqual(GIB / 2);
    expect(Number(config['maxLogEntries'])).toBeGreaterThanOrEqual(2 * Number(config['checkpointOps']));
  });

  it('takes other keys as they are given', async () => {
    expect(configOf(await tuneSettings({ ...FLAGS, option: { retainEntries: '5000' } }), { ops: 500, bytes: 64 * MIB })).toMatchObject({ retainEntries: '5000', checkpointOps: 500 });
  });
});
