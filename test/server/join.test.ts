import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, describe, expect, it } from 'vitest';
import { introduce } from '../../client/line.ts';
import { defined } from '../../lib/assert.ts';
import { loadConfig } from '../../server/config.ts';
import { inspect } from '../../server/data_directory.ts';
import { prepareToJoin, type JoinRequest } from '../../server/join.ts';
import { JoinError } from '../../server/join_error.ts';
import { startReplica } from '../../server/replica_process.ts';
import { vrfs } from '../cli/harness.ts';
import { FakeGroup } from '../client/fake_group.ts';
import { temporaryDirectory, until } from './support.ts';

const started: FakeGroup[] = [];
afterEach(async () => {
  for (const group of started.splice(0)) await group.stop();
});

async function fakeGroup(id = 7): Promise<FakeGroup> {
  const group = await FakeGroup.start();
  group.clusterId = Buffer.alloc(16, id);
  started.push(group);
  return group;
}

const ADDRESSES = { address: 'node-4.example:7101', httpAddress: 'node-4.example:7201' };
const NOBODY = ['127.0.0.1:1', '127.0.0.1:2'];
const silent = pino({ level: 'silent' });

async function joined(group: FakeGroup): Promise<JoinRequest> {
  const request = { directory: join(await temporaryDirectory(), 'data'), servers: group.servers, addresses: ADDRESSES };
  await prepareToJoin(request, silent);
  return request;
}

describe('a node that joins', () => {
  it('is formatted for the group, as no member of it, with an id that no founder has', async () => {
    const group = await fakeGroup();
    const request = await joined(group);
    const found = await inspect(request.directory);
    expect(found.clusterId).toEqual(group.clusterId);
    expect(found.memberId).toBeGreaterThanOrEqual(0x1_0000);
    expect(found.superblock.configuration).toEqual(group.configuration);
  });

  it('asks nobody when it is started again: after a power loss of all there is nobody', async () => {
    const request = await joined(await fakeGroup());
    const before = await inspect(request.directory);
    await prepareToJoin({ ...request, servers: NOBODY }, silent);
    const elsewhere = { address: '10.0.0.9:7101', httpAddress: ADDRESSES.httpAddress };
    await expect(prepareToJoin({ ...request, servers: NOBODY, addresses: elsewhere }, silent)).rejects.toThrow(`is the data directory of a node at ${ADDRESSES.address} (HTTP ${ADDRESSES.httpAddress}), where the others look for it, and not at 10.0.0.9:7101`);
    expect(await inspect(request.directory)).toEqual(before);
  });

  it('says so when there is nobody at its first start, and makes nothing', async () => {
    const directory = join(await temporaryDirectory(), 'data');
    const failed: unknown = await prepareToJoin({ directory, servers: NOBODY, addresses: ADDRESSES }, silent).then(() => null, (e: unknown) => e);
    expect(failed).toBeInstanceOf(JoinError);
    expect(String(failed)).toMatch(/127\.0\.0\.1:1 does not answer: connect ECONNREFUSED.*127\.0\.0\.1:2 does not answer.*give the address of one that runs/);
    await expect(inspect(directory)).rejects.toThrow(/there is no data directory/);
  });

  it('takes no directory that is something else, whoever answers', async () => {
    const directory = await temporaryDirectory();
    await writeFile(join(directory, 'letter.txt'), 'dear');
    await expect(prepareToJoin({ directory, servers: (await fakeGroup()).servers, addresses: ADDRESSES }, silent)).rejects.toThrow(/is not a data directory of vrfs/);
  });

  it('goes on in the group of its directory, and says that the servers are of another', async () => {
    const request = await joined(await fakeGroup());
    const other = await fakeGroup(9);
    const lines: string[] = [];
    const log = pino({ level: 'error' }, { write: (line: string) => { lines.push(line); } });
    await prepareToJoin({ ...request, servers: other.servers }, log);
    await until(() => lines.length > 0, 'the line');
    expect(lines[0]).toMatch(/belongs to group 0707.*in which this node goes on.*are of group 0909.*give an empty directory/);
  });

  it('says where the others find it, not where it listens nor what it was asked under', async () => {
    const { directory } = await joined(await fakeGroup());
    const config = await loadConfig({ flags: { data: directory, listen: '127.0.0.1:0' } });
    const replica = await startReplica(config, silent);
    try {
      const welcome = await introduce(replica.address.replace('127.0.0.1', 'localhost'), 5000);
      expect(welcome).toMatchObject({ self: replica.memberId, ...ADDRESSES });
    } finally {
      await replica.stop();
    }
  });

  it('is refused without its HTTP API, with the reason, however that was said', async () => {
    const root = await temporaryDirectory();
    await mkdir(join(root, 'empty'));
    const file = join(root, 'config.json');
    await writeFile(file, JSON.stringify({ http: false }));
    const group = await fakeGroup();
    const serve = ['serve', '--join', defined(group.servers[0], 'server'), '--data', join(root, 'empty'), '--address', '127.0.0.1:3', '--http-address', '127.0.0.1:4'];
    for (const how of [['--no-http'], ['--config', file]]) {
      expect(await vrfs([...serve, ...how])).toMatchObject({ exitCode: 2, stderr: expect.stringMatching(/a node that joins needs its HTTP API: the other members fetch checkpoints there/) as string });
    }
    await expect(inspect(join(root, 'empty'))).rejects.toThrow(/is empty/);
  });
});
