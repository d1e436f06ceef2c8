/** Proofs from a running group: what a quorum agrees on, through the client library and the command line, with members that lie or are away. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { request } from 'undici';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { NotVerified } from '../../client/errors.ts';
import { FileSystem } from '../../client/file_system.ts';
import { verifiedStat, type VerifiedStat } from '../../client/verified_stat.ts';
import { configuration, type Configuration } from '../../vr/configuration.ts';
import { ROOT } from '../../server/http/credentials.ts';
import { vrfs } from '../cli/harness.ts';
import { TestGroup } from './group.ts';
import { until } from './support.ts';

let group: TestGroup;
let fs: FileSystem;
/** Before anything was written. */
let begun: number;

beforeEach(async () => {
  group = await TestGroup.make({ flags: { checkpointOps: 50, scrubRate: 0 }, files: true });
  begun = Date.now();
  await group.startAll();
  fs = new FileSystem(await group.client(), { credentials: ROOT });
  await fs.mkdir('/jobs');
  await fs.mkdir('/secret', { mode: 0o700 });
  for (let i = 0; i < 150; i++) await fs.writeFile(`/jobs/${i}`, `job ${i}`, { mode: 0o640 });
  await checkpointed();
});

/** The newest checkpoint of two members is the same, and includes everything up to now. */
async function checkpointed(): Promise<void> {
  const since = Math.max(...group.running.flatMap((r) => (r ? [r.status().replica.executed] : [])));
  for (;;) {
    for (let i = 0; i < 60; i++) await fs.writeFile('/more', `${i}`);
    await until(() => group.running.every((r) => !r?.status().replica.checkpointing), 'no checkpoint is being written');
    const ops = group.running.flatMap((r) => (r ? [r.status().replica.checkpoint.op] : []));
    if (ops.some((op, i) => op > since && ops.indexOf(op) !== i)) return;
  }
}

function verified(path: string, c: Configuration = group.configuration, timeoutMs = 5000): Promise<VerifiedStat> {
  return verifiedStat(c, path, { credentials: ROOT, timeoutMs });
}

/** The group with another HTTP API in front of one member. A number: the status of an error. */
async function withLiar(id: number, lie: (path: string, body: string) => string | number | null): Promise<Configuration> {
  const { configuration: c } = group;
  const honest = c.members.find((m) => m.id === id)?.httpAddress ?? '';
  const answer = async (from: IncomingMessage, to: ServerResponse): Promise<void> => {
    const truth = await request(`http://${honest}${from.url ?? ''}`, { headers: { 'x-vrfs-uid': '0' } });
    const body = lie(from.url ?? '', await truth.body.text());
    if (body === null) to.destroy();
    else if (typeof body === 'number') to.writeHead(body, { 'content-type': 'application/json' }).end('{"detail":"not now"}');
    else to.writeHead(truth.statusCode, { 'content-type': 'application/json' }).end(body);
  };
  const server: Server = createServer((from, to) => { void answer(from, to); });
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  onTestFinished(() => new Promise<void>((resolve) => { server.close(() => { resolve(); }); }));
  const { port } = server.address() as AddressInfo;
  return configuration(c.epoch, c.members.map((m) => (m.id === id ? { ...m, httpAddress: `127.0.0.1:${port}` } : m)), c.durability);
}

describe('a verified stat', () => {
  it('says what a path leads to at a checkpoint on which a quorum agrees, or that there is nothing', async () => {
    const found = await verified('/jobs/7');
    expect(found.stats?.attributes).toEqual((await fs.stat('/jobs/7')).attributes);
    expect(found.agreed.length).toBeGreaterThanOrEqual(2);
    expect(found).toMatchObject({ quorum: 2, missing: null });
    const taken = (found.checkpoint.timeMicros ?? 0) / 1000;
    expect(taken).toBeGreaterThanOrEqual(begun);
    expect(taken).toBeLessThanOrEqual(Date.now());
    const absent = await verified('/jobs/none');
    expect(absent.stats).toBeNull();
    expect(absent.missing?.toString()).toBe('none');
    expect((await verified('/')).stats?.isDirectory()).toBe(true);
  });

  it('needs a quorum: one member that is away does no harm, two do', async () => {
    await group.stopOne(3);
    expect((await verified('/jobs/7')).agreed).toEqual(expect.arrayContaining([1, 2]));
    await group.stopOne(2);
    await expect(verified('/jobs/7', group.configuration, 600)).rejects.toThrow(/2 of 3 members that keep the state have to agree, and 1 answered/);
  });

  it('refuses a forged proof, and says whose it is', async () => {
    for (const id of [1, 2, 3]) {
      const lie = (path: string, body: string): string => (path.startsWith('/v1/proof') ? body.replace(/"value":"([^"]{8})/g, '"value":"AAAAAAAA') : body);
      const c = await withLiar(id, lie);
      // The liar is asked for the proof where it is the first that holds the checkpoint.
      const result = await verified('/jobs/7', c).catch((error: unknown) => error);
      if (id === c.members[0]?.id || result instanceof Error) {
        expect(result).toBeInstanceOf(NotVerified);
        expect(String(result)).toMatch(new RegExp(`NOT VERIFIED: the proof of member ${id} .* is refused: lookup 0`));
      } else {
        expect((result as VerifiedStat).prover).not.toBe(id);
      }
    }
  });

  it('does not count a member with other roots, or one that speaks for another', async () => {
    const otherRoots = await withLiar(1, (_path, body) => body.replaceAll(/"root":"([0-9a-f]{2})/g, (_all, two: string) => `"root":"${two === '00' ? '11' : '00'}`));
    expect((await verified('/jobs/7', otherRoots)).agreed).toEqual(expect.arrayContaining([2, 3]));
    const impostor = await withLiar(1, (_path, body) => body.replace('"memberId":1', '"memberId":2'));
    expect((await verified('/jobs/7', impostor)).agreed).not.toContain(1);
    const silent = await withLiar(1, () => null);
    expect((await verified('/jobs/7', silent)).agreed).not.toContain(1);
    const rubbish = await withLiar(1, () => '{"held": [{"op": -1}], "known": 7, "memberId": 1}');
    expect((await verified('/jobs/7', rubbish)).agreed).not.toContain(1);
    await group.stopOne(3);
    await expect(verified('/jobs/7', otherRoots, 600)).rejects.toThrow(/no 2 members have a checkpoint of the same op with the same root/);
  });

  it('is refused to who may not search the way', async () => {
    await fs.writeFile('/secret/x', 'x');
    await checkpointed();
    expect((await verified('/secret/x')).stats?.isFile()).toBe(true);
    await expect(verifiedStat(group.configuration, '/secret/x', { credentials: { uid: 1000, gid: 1000, groups: [] } })).rejects.toThrow(/answered 403: .*secret/);
    await expect(verified('/jobs/../secret')).rejects.toThrow(/a path without '\.\.'/);
  });

  it('is proved by another member while one has a fault or no time', async () => {
    for (const status of [500, 503]) {
      for (const id of [1, 2]) {
        const c = await withLiar(id, (path, body) => (path.startsWith('/v1/proof/') ? status : body));
        const found = await verified('/jobs/7', c);
        expect(found.stats?.isFile()).toBe(true);
        expect(found.prover).not.toBe(id);
      }
    }
  });

  it('is what vrfs stat --verify prints', async () => {
    const servers = group.configuration.members.map((m) => m.address);
    const found = await vrfs(['stat', '--verify', '/jobs/7'], { servers });
    expect(found.exitCode, found.stderr).toBe(0);
    expect(found.stdout).toMatch(/File: \/jobs\/7\n {2}Type: file[^]*Verified: at op \d+ of \d{4}-.*Z, -?\d+\.\d s ago\n {2}Root: [0-9a-f]{64}\n {8}the same at members \d, \d/);
    expect(found.stderr).toContain('what was changed since does not show');
    const absent = await vrfs(['stat', '--verify', '--json', '/jobs/none'], { servers });
    expect(absent.exitCode).toBe(1);
    expect(JSON.parse(absent.stdout)).toMatchObject([{ path: '/jobs/none', verified: { absent: true, missing: 'none', quorum: 2 } }]);
    expect((await vrfs(['stat', '--verify', '-L', '/jobs'], { servers })).exitCode).toBe(2);
    await group.stopOne(3);
    await group.stopOne(2);
    expect((await vrfs(['stat', '--verify', '--timeout', '600', '/jobs/7'], { servers })).exitCode).toBe(3);
  });
});
