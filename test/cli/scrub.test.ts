/** What `vrfs scrub` says of a replica that cannot write or read what it looks at. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, it, onTestFinished } from 'vitest';
import { epoch, memberId } from '../../lib/ids.ts';
import { configuration } from '../../vr/configuration.ts';
import { FakeGroup } from '../client/fake_group.ts';
import { vrfs, type CliResult } from './harness.ts';

const PASS = {
  number: 4, asked: true, startedAt: 1_700_000_000_000, endedAt: 1_700_000_002_000, end: 'complete', progress: 1, tables: 3, tableBytes: 3000, direct: true,
  rewrittenTables: 0, unwrittenTables: 0, pages: 5, records: 99, bytes: 9000, damage: null, error: null as string | null,
};
const SCRUB = { rate: 262_144, state: 'resting', pass: null, last: PASS as object, lastCompleteAt: PASS.endedAt, passes: 3, damages: 0, rewrittenTables: 0, unwrittenTables: 0, failures: 0, lastDamage: null };

/** A group of one, whose replica says this of its scrubs. */
async function replicaThatSays(scrub: object): Promise<(...args: string[]) => Promise<CliResult>> {
  const server = createServer((request, response) => {
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify(request.method === 'POST' ? { pass: PASS.number } : { pid: 1, scrub }));
  });
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  const group = await FakeGroup.start(1);
  onTestFinished(async () => {
    await group.stop();
    await new Promise<void>((resolve) => { server.close(() => { resolve(); }); });
  });
  const [address = ''] = group.servers;
  group.configuration = configuration(epoch(0), [{ id: memberId(1), role: 'voter', address, httpAddress: `127.0.0.1:${(server.address() as AddressInfo).port}` }], 'disk');
  return (...args) => vrfs(['scrub', ...args], { servers: [address] });
}

it('a sound store: exit code 0, and nothing else', async () => {
  const scrub = await replicaThatSays(SCRUB);
  expect(await scrub()).toMatchObject({ exitCode: 0, stderr: '' });
  expect(await scrub('--now')).toMatchObject({ exitCode: 0, stdout: expect.stringMatching(/replica 1 .*: no damage: 99 records/) as string });
});

it('tables that the disk does not take again: exit code 1, and what to do', async () => {
  const scrub = await replicaThatSays({ ...SCRUB, unwrittenTables: 2, last: { ...PASS, unwrittenTables: 2 } });
  expect(await scrub()).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('replica 1: 2 tables have rotted on the disk and are whole in memory alone, since it does not take them again: make room or replace it') as string });
  expect(await scrub('--now')).toMatchObject({ exitCode: 1, stdout: expect.stringMatching(/replica 1 .*: 2 tables have rotted on the disk and are whole in memory alone.*make room or replace it/) as string });
});

it('a scrub that an error broke off: exit code 1, and which', async () => {
  const error = 'EMFILE: too many open files';
  const scrub = await replicaThatSays({ ...SCRUB, failures: 3, last: { ...PASS, end: 'broken off', error } });
  expect(await scrub()).toMatchObject({ exitCode: 1, stderr: expect.stringContaining(`replica 1: the last scrubs were broken off (3 in a row): ${error}`) as string });
  expect(await scrub('--now')).toMatchObject({ exitCode: 1, stdout: expect.stringMatching(/replica 1 .*: broken off after 99 records.*: EMFILE/) as string });
});

it('a replica of a version that says less: as before', async () => {
  // What is undefined is left out of JSON.
  const scrub = await replicaThatSays({ ...SCRUB, unwrittenTables: undefined, failures: undefined, last: { ...PASS, unwrittenTables: undefined, error: undefined } });
  expect(await scrub()).toMatchObject({ exitCode: 0, stderr: '' });
  expect(await scrub('--now')).toMatchObject({ exitCode: 0 });
});
