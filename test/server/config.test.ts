import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ConfigError, describeCluster, loadCluster, loadConfig, originsOf, parseCluster, replicaOptions } from '../../server/config.ts';
import { DEFAULT_REPLICA_OPTIONS } from '../../vr/replica_types.ts';
import { temporaryDirectory } from './support.ts';

async function file(value: unknown): Promise<string> {
  const path = join(await temporaryDirectory(), 'config.json');
  await writeFile(path, typeof value === 'string' ? value : JSON.stringify(value));
  return path;
}

describe('the configuration', () => {
  it('has defaults for everything but the data directory, and is frozen', async () => {
    const config = await loadConfig({ flags: { data: './data/1' } });
    expect(replicaOptions(config)).toEqual(DEFAULT_REPLICA_OPTIONS);
    expect(Object.isFrozen(config)).toBe(true);
    expect(config).toMatchObject({ logLevel: 'info', http: true });
    await expect(loadConfig({})).rejects.toThrow(/which data directory\? Give --data <directory>.*--config <file>/);
  });

  it('takes flags before the environment before the file', async () => {
    const path = await file({ data: 'from-file', checkpointOps: 10, pipeline: 7, heartbeatMs: 20 });
    const config = await loadConfig({
      file: path,
      environment: { VRFS_DATA: 'from-environment', VRFS_CHECKPOINT_OPS: '20', VRFS_SERVERS: 'a:1', VRFS_HTTP: 'false' },
      flags: { checkpointOps: 30, pipeline: undefined },
    });
    expect(config).toMatchObject({ data: 'from-environment', checkpointOps: 30, pipeline: 7, heartbeatMs: 20, http: false });
  });

  it('knows where each value came from that is no default', async () => {
    const path = await file({ data: 'd', pipeline: 7, heartbeatMs: 20 });
    const config = await loadConfig({ file: path, environment: { VRFS_HEARTBEAT_MS: '30', VRFS_LEASE_MS: '' }, flags: { checkpointOps: 30, logLevel: undefined } });
    expect(originsOf(config)).toEqual({ data: path, pipeline: path, heartbeatMs: 'VRFS_HEARTBEAT_MS', checkpointOps: 'the command line' });
  });

  it('says which key is wrong, where it came from and what is allowed', async () => {
    const load = (flags: Record<string, unknown>, environment: Record<string, string> = {}): Promise<unknown> => loadConfig({ flags: { data: 'd', ...flags }, environment });
    await expect(load({ checkpointOps: 0 })).rejects.toThrow(/checkpointOps \(from the command line\): has to be 1 at least, not 0/);
    await expect(load({}, { VRFS_PIPELINE: 'many' })).rejects.toThrow(/pipeline \(from VRFS_PIPELINE\): has to be a whole number, not "many"/);
    await expect(load({ http: 'perhaps' })).rejects.toThrow(/http .*: has to be true or false, not "perhaps"/);
    await expect(load({ checkpointOps: 1.5 })).rejects.toThrow(/checkpointOps .*: has to be a whole number, not 1.5/);
    await expect(load({ maxSessions: 1e9 })).rejects.toThrow(/maxSessions .*: may be 1000000 at most/);
    await expect(load({ listen: 'localhost' })).rejects.toThrow(/listen .*"localhost" is not an address: write host:port/);
    await expect(load({ durability: 'tape' })).rejects.toThrow(/durability.*: has to be one of disk, memory, not "tape"/);
    await expect(load({ viewChangeMs: 100, heartbeatMs: 50 })).rejects.toThrow(/viewChangeMs.*three times heartbeatMs/);
    await expect(load({ checkpointOpz: 5 })).rejects.toThrow(/unknown: checkpointOpz \(known are data,/);
    await expect(load({ journalSegmentBytes: 1_000_001 })).rejects.toThrow(/a multiple of 4096/);
    await expect(load({ checkpointOps: 0, pipeline: 0 })).rejects.toThrow(/checkpointOps.*pipeline/);
  });

  it('takes sizes in the units that people write, wherever they come from', async () => {
    const path = await file({ data: 'd', cacheBytes: '64MiB', reserveBytes: 4096 });
    const config = await loadConfig({ file: path, environment: { VRFS_CHECKPOINT_BYTES: '16M', VRFS_SCRUB_RATE: '0' }, flags: { transferRate: '1g', journalSegmentBytes: '65536' } });
    expect(config).toMatchObject({ cacheBytes: 64 << 20, reserveBytes: 4096, checkpointBytes: 16 << 20, scrubRate: 0, transferRate: 2 ** 30, journalSegmentBytes: 65_536 });
    const load = (flags: Record<string, unknown>): Promise<unknown> => loadConfig({ flags: { data: 'd', ...flags } });
    await expect(load({ transferRate: '10 parsecs' })).rejects.toThrow(/transferRate \(from the command line\): has to be a number of bytes, as 65536, 64K, 16M or 1G, not "10 parsecs"/);
    await expect(load({ cacheBytes: null })).rejects.toThrow(/cacheBytes .*: has to be a number of bytes, .*, not null/);
    await expect(load({ cacheBytes: '1K' })).rejects.toThrow(/cacheBytes .*: has to be 1048576 at least, not "1K"/);
    await expect(load({ cacheBytes: 2e6 + 0.5 })).rejects.toThrow(/cacheBytes .*: has to be a whole number, not 2000000.5/);
    await expect(load({ checkpointBytes: '' })).rejects.toThrow(/checkpointBytes .*: has to be a number of bytes/);
  });

  it('takes nothing for a number, or for yes or no, that is none: what is empty would turn something off', async () => {
    const load = (flags: Record<string, unknown>): Promise<unknown> => loadConfig({ flags: { data: 'd', ...flags } });
    for (const nothing of ['', ' ', null, false, true, [], {}]) {
      const given = JSON.stringify(nothing).replace(/[[\]{}]/g, '\\$&');
      await expect(load({ leaseMs: nothing })).rejects.toThrow(new RegExp(`leaseMs \\(from the command line\\): has to be a whole number, not ${given}$`));
      await expect(load({ maxClockDrift: nothing })).rejects.toThrow(new RegExp(`maxClockDrift .*: has to be a number, as 0.05, not ${given}$`));
      if (typeof nothing !== 'boolean') await expect(load({ http: nothing })).rejects.toThrow(/http .*: has to be true or false/);
    }
    for (const odd of ['0x10', '1e3', '-5', '5 s', '1.5']) await expect(load({ leaseMs: odd })).rejects.toThrow(/leaseMs .*: has to be a whole number/);
    expect(await load({ leaseMs: ' 150 ', maxClockDrift: '0.01', http: 'false' })).toMatchObject({ leaseMs: 150, maxClockDrift: 0.01, http: false });
    expect(await load({ maxClockDrift: '.04' })).toMatchObject({ maxClockDrift: 0.04 });
    for (const odd of ['.', '1e-2', '0,1', '-.1']) await expect(load({ maxClockDrift: odd })).rejects.toThrow(/maxClockDrift .*: has to be a number, as 0.05/);
    await expect(load({ maxClockDrift: 0.6 })).rejects.toThrow(/maxClockDrift .*: may be 0.5 at most, not 0.6/);
    await expect(loadConfig({ file: await file({ data: 'd', scrubIntervalMs: null }) })).rejects.toThrow(/scrubIntervalMs \(from .*config.json\): has to be a whole number, not null/);
  });

  it('takes an empty environment variable for one that is not there', async () => {
    const path = await file({ data: 'd', leaseMs: 100, heartbeatMs: 20 });
    const environment = { VRFS_DATA: '', VRFS_LEASE_MS: '', VRFS_SCRUB_RATE: '', VRFS_HTTP: '', VRFS_MAX_CLOCK_DRIFT: '', VRFS_LOG_FILE: '' };
    expect(await loadConfig({ file: path, environment })).toEqual(await loadConfig({ file: path }));
    await expect(loadConfig({ environment })).rejects.toThrow(/which data directory\?/);
  });

  it('names a file that cannot be read or is not JSON', async () => {
    await expect(loadConfig({ file: '/nowhere/config.json' })).rejects.toThrow(/configuration file \/nowhere\/config.json cannot be read: ENOENT/);
    await expect(loadConfig({ file: await file('{"data": ') })).rejects.toThrow(/is not JSON/);
    await expect(loadConfig({ file: await file([1]) })).rejects.toThrow(/one JSON object/);
  });
});

describe('a cluster file', () => {
  const members = [1, 2, 3].map((id) => ({ id, address: `127.0.0.1:${7100 + id}`, httpAddress: `127.0.0.1:${7200 + id}` }));
  const value = { clusterId: '00112233445566778899aabbccddeeff', durability: 'memory', members };

  it('is read as it was written', async () => {
    const cluster = await loadCluster(await file(value));
    expect(cluster.configuration.members.map((m) => m.id)).toEqual([1, 2, 3]);
    expect(parseCluster(JSON.parse(describeCluster(cluster)), 'again')).toEqual(cluster);
  });

  it('is refused with what is wrong', () => {
    expect(() => parseCluster({ ...value, clusterId: 'abc' }, 'c.json')).toThrow(ConfigError);
    expect(() => parseCluster({ ...value, clusterId: 'abc' }, 'c.json')).toThrow(/c\.json does not describe a group: clusterId: 32 hexadecimal digits/);
    expect(() => parseCluster({ ...value, members: [...members, members[0]] }, 'c.json')).toThrow(/two members have the same id/);
    expect(() => parseCluster({ ...value, members: [] }, 'c.json')).toThrow(/members/);
    expect(() => parseCluster(null, 'c.json')).toThrow(/c\.json/);
  });
});
