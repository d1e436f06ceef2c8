import { createServer, type AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { epoch, memberId, view } from '../../lib/ids.ts';
import { configuration } from '../../vr/configuration.ts';
import { Administered, joiningNode } from '../client/administered.ts';
import type { FakeGroup } from '../client/fake_group.ts';
import { vrfs, type CliResult } from './harness.ts';

let own: Administered;
const started: FakeGroup[] = [];
const JOINER = 77_777;

beforeEach(async () => {
  own = await Administered.start();
  started.push(own.group);
});
afterEach(async () => {
  for (const group of started.splice(0)) await group.stop();
});

const members = (...args: string[]): Promise<CliResult> => vrfs(['members', ...args, ...(args.includes('--timeout') ? [] : ['--timeout', '8000'])], { servers: own.group.servers });
const roles = (): string[] => own.members.map((m) => `${m.id}:${m.role}`).sort();
const address = (id: number): string => own.members.find((m) => m.id === id)?.address ?? '';

async function joining(clusterId = own.group.clusterId): Promise<string> {
  const node = await joiningNode(own.group, JOINER, clusterId);
  started.push(node.group);
  return node.address;
}

/** Stops the member with the lowest id: a server of the group whom no answer may depend on. */
async function stopMember1(): Promise<void> {
  // Another one leads.
  while (own.group.primary === 0) own.group.view++;
  await own.group.kill(0);
}

describe('vrfs members add', () => {
  it('takes a node in under the addresses by which the others find it, and gives it its vote', async () => {
    const at = await joining();
    const added = await members('add', at.replace('127.0.0.1', 'localhost'));
    expect(added.stderr).toMatch(new RegExp(`localhost:\\d+: reached, node ${JOINER}, which the others find at ${at}`));
    expect(added).toMatchObject({ exitCode: 0, stdout: '' });
    expect(own.members.find((m) => m.id === JOINER)).toEqual({ id: JOINER, role: 'voter', address: at, httpAddress: '127.0.0.1:9' });
    // First without a vote, then with it.
    expect(own.asked.map((m) => [m.members.find((n) => n.id === JOINER)?.role, m.force])).toEqual([['observer', false], ['voter', false]]);
    expect((await members('add', at)).stderr).toMatch(/done: epoch 2/);
  });

  it('says what an address looks like', async () => {
    for (const json of [[], ['--json']]) {
      const wrong = await members('add', 'foo', ...json);
      expect(wrong).toMatchObject({ exitCode: 2, stdout: '', stderr: expect.stringMatching(/foo.* is not an address: write host:port, for example 127\.0\.0\.1:7101/) as string });
    }
    expect(await members('replace', '1', 'foo')).toMatchObject({ exitCode: 2, stderr: expect.stringMatching(/is not an address/) as string });
    expect(own.asked).toEqual([]);
  });

  it('takes in no node of another group, whichever member is down, forced or not', async () => {
    const foreign = await joining(Buffer.alloc(16, 9));
    await stopMember1();
    for (const force of [[], ['--force'], ['--force', '--id', '5', '--http-address', '127.0.0.1:9']]) {
      const refused = await members('add', foreign, '--timeout', '5000', ...force);
      expect(refused).toMatchObject({ exitCode: 2, stderr: expect.stringMatching(/belongs to another group, 0909.*vrfs serve --join/) as string });
    }
    expect(own.asked).toEqual([]);
  });

  it('takes in a node that cannot be reached when it is forced and told who it is, and waits for nothing', async () => {
    own.readiness = (id) => (id === JOINER ? 'silent' : 'ready');
    const alone = await members('add', '127.0.0.1:11');
    expect(alone).toMatchObject({ exitCode: 3, stderr: expect.stringMatching(/^vrfs: 127\.0\.0\.1:11 does not answer: connect ECONNREFUSED.*--force --id <member id> --http-address <host:port>/) as string });
    expect((await members('add', '127.0.0.1:11', '--force')).exitCode).toBe(3);
    expect((await members('add', '127.0.0.1:11', '--id', '5', '--http-address', '127.0.0.1:9'))).toMatchObject({ exitCode: 2, stderr: expect.stringMatching(/go together, and with --force/) as string });
    expect(own.asked).toEqual([]);
    const forced = await members('add', '127.0.0.1:11', '--force', '--id', String(JOINER), '--http-address', '127.0.0.1:9');
    expect(forced).toMatchObject({ exitCode: 0, stderr: expect.stringMatching(/not reached .*taken in as node 77777/) as string });
    expect(own.asked.map((m) => m.force)).toEqual([true]);
    expect(roles()).toContain(`${JOINER}:voter`);
  });

  it('is never forced where too few would be up', async () => {
    own.readiness = (id) => (id === own.group.primary + 1 || id === 3 ? 'ready' : 'silent');
    if (own.group.primary === 2) own.group.view++;
    const forced = await members('add', '127.0.0.1:11', '--force', '--id', String(JOINER), '--http-address', '127.0.0.1:9', '--timeout', '1500');
    expect(forced.exitCode).not.toBe(0);
    expect(forced.stderr).toMatch(/only 2 of the 4 members with a vote would be up/);
    expect(own.members).toHaveLength(3);
  });

  it('does not take a vote: of a member that is there it says what is', async () => {
    expect(await members('add', address(2), '--role', 'observer')).toMatchObject({ exitCode: 2, stderr: expect.stringMatching(/is a member already, 2, a voter: to make it something else: vrfs members set-role 2 observer/) as string });
    expect(roles()).toEqual(['1:voter', '2:voter', '3:voter']);
  });

  it('says what it waits for while a node is behind, and what becomes of it', async () => {
    const at = await joining();
    own.readiness = (id) => (id === JOINER ? 'behind' : 'ready');
    const late = await members('add', at, '--timeout', '5000');
    expect(late.exitCode).toBe(3);
    expect(late.stderr).toMatch(/how far it is cannot be seen from here \(http:\/\/127\.0\.0\.1:9\/v1\/status does not answer: .*\); the primary says when it has caught up/);
    expect(late.stderr).toMatch(/not yet: .* is still behind/);
    expect(late.stderr).toMatch(/vrfs: not within the time that was given \(--timeout\): the group refuses, and says: .*is still behind.*The same command again waits on, and vrfs members remove 77777 takes it out/);
    expect(roles()).toContain(`${JOINER}:observer`);
    own.readiness = () => 'ready';
    expect((await members('add', at)).exitCode).toBe(0);
    expect(roles()).toContain(`${JOINER}:voter`);
  });

  it('--json: one object a line', async () => {
    const at = await joining();
    const added = await members('add', at, '--json');
    const lines = added.stdout.trim().split('\n').map((line) => JSON.parse(line) as { phase: string; epoch?: number; members?: unknown[] });
    expect(lines.map((l) => l.phase)).toEqual(['reached', 'starting', 'unseen', 'starting', 'done']);
    expect(lines.at(-1)).toMatchObject({ epoch: 2, members: [{ id: 1 }, { id: 2 }, { id: 3 }, { id: JOINER }] });
    expect(added.stderr).toBe('');
  });

  it('that somebody else was faster is no fault of the command line', async () => {
    const at = await joining();
    own.before = (member, m) => {
      if (m.type !== 'reconfigure' || member !== own.group.primary) return undefined;
      own.change([...own.members, { id: memberId(88), role: 'observer', address: '127.0.0.1:88', httpAddress: '127.0.0.1:89' }]);
      own.before = () => undefined;
      return undefined;
    };
    const raced = await members('add', at, '--json');
    expect(raced.exitCode).toBe(1);
    expect(JSON.parse(raced.stderr)).toMatchObject({ error: { code: 'underWay', message: expect.stringMatching(/somebody else has changed the members meanwhile \(epoch 1: /) as string } });
  });
});

describe('vrfs members remove', () => {
  it('says what it waits for while nobody leads', async () => {
    for (let i = 1; i < 3; i++) await own.group.kill((own.group.primary + i) % 3);
    own.before = (_, m) => (m.type === 'checkEpoch' ? null : undefined);
    const waited = await members('remove', '3', '--timeout', '4500');
    expect(waited).toMatchObject({ exitCode: 3, stdout: '' });
    expect(waited.stderr.trim().split('\n')).toEqual([
      expect.stringMatching(/^waiting: no primary answers: .*is there, and did not answer in time.*A majority of the group has to run/),
      expect.stringMatching(/^vrfs: not within the time that was given \(--timeout\): no primary answers/),
    ]);
    const forPrograms = await members('remove', '3', '--timeout', '4500', '--json');
    expect(JSON.parse(forPrograms.stdout)).toMatchObject({ phase: 'waiting', reason: expect.stringMatching(/no primary answers/) as string });
  });
});

describe('vrfs members replace', () => {
  it.each(['EPIPE', 'ERR_STREAM_DESTROYED'])('goes through all its steps when nobody reads what it says any more (%s)', async (code) => {
    const at = await joining();
    const gone = Object.assign(new Error(`${code}: write`), { code });
    for (const json of [[], ['--json']]) {
      const result = await vrfs(['members', 'replace', '1', at, '--timeout', '8000', ...json], { servers: own.group.servers, stdoutFails: gone, stderrFails: gone });
      expect(result).toMatchObject({ exitCode: 0, onlyReads: false });
      expect(own.members.map((m) => m.id).sort((a, b) => a - b)).toEqual([2, 3, JOINER]);
    }
  });

  it('puts a node in the place of another', async () => {
    const at = await joining();
    await stopMember1();
    expect((await members('replace', '1', at)).exitCode).toBe(0);
    expect(roles()).toEqual(['2:voter', '3:voter', `${JOINER}:voter`]);
    // Again, as after an interruption.
    expect((await members('replace', '1', at)).exitCode).toBe(0);
  });

  it('not in its own, nor one that has a vote in another\'s', async () => {
    expect(await members('replace', address(1), address(1))).toMatchObject({ exitCode: 2, stderr: expect.stringMatching(/are the same, member 1: give the address of a new node/) as string });
    expect(await members('replace', '1', address(1).replace('127.0.0.1', 'localhost'))).toMatchObject({ exitCode: 2, stderr: expect.stringMatching(/are the same, member 1/) as string });
    expect(await members('replace', '1', address(2))).toMatchObject({ exitCode: 2, stderr: expect.stringMatching(/has a vote already, as member 2, a voter.*vrfs members remove 1/) as string });
    expect(own.asked).toEqual([]);
  });
});

describe('vrfs members', () => {
  it('lists what the newest of them knows, and not a mixture of groups', async () => {
    const other = await Administered.start(1);
    started.push(other.group);
    other.group.clusterId = Buffer.alloc(16, 9);
    expect((await members()).stdout).toContain(address(1));
    expect(await vrfs(['members', '--server', [...own.group.servers, ...other.group.servers].join(',')])).toMatchObject({ exitCode: 2, stderr: expect.stringMatching(/these servers are of different groups: .* of 0707.* of 0909/) as string });
    await stopMember1();
    expect((await members('--timeout', '2000')).stdout).toContain(address(3));
  });
});

describe('commands that ask each member about itself', () => {
  it('do not wait for a server that says nothing, once another has answered', async () => {
    const mute = createServer((socket) => { socket.resume(); });
    await new Promise<void>((r) => { mute.listen(0, '127.0.0.1', r); });
    const { port } = mute.address() as AddressInfo;
    const listed = await vrfs(['members', 'list', '--timeout', '3600000'], { servers: [`127.0.0.1:${port}`, ...own.group.servers] });
    expect(listed).toMatchObject({ exitCode: 0, stdout: expect.stringContaining(address(3)) as string });
    // It hangs up too: else this would wait for ever.
    await new Promise<void>((r) => { mute.close(() => { r(); }); });
  });

  it('ask those whom the newest configuration names, whoever answers first', async () => {
    const at = await joining();
    const left = own.group.servers[0] ?? '';
    // Of the members of now two know nothing yet; a node that waits knows those of the day on which it was made.
    const before = own.group.configuration;
    const dead = { id: memberId(9), role: 'voter' as const, address: '127.0.0.1:11', httpAddress: '127.0.0.1:12' };
    const after = configuration(epoch(1), [...before.members.filter((m) => m.id !== 1), dead], 'disk');
    own.group.configuration = after;
    own.before = (member, m) => (m.type === 'hello' && member === 0
      ? { type: 'welcome', view: view(0), configuration: before, self: memberId(1), address: left, httpAddress: '127.0.0.1:1', clusterId: own.group.clusterId } : undefined);
    const servers = [left, at, ...own.group.servers.slice(1)];
    const run = (...args: string[]): Promise<CliResult> => vrfs([...args, '--timeout', '2000'], { servers });
    for (const args of [['status'], ['scrub'], ['checkpoint', 'list'], ['scrub', '--now']]) {
      // Nobody answers over HTTP here.
      const told = JSON.parse((await run(...args, '--json')).stdout) as { id: number }[];
      expect([args, told.map((m) => m.id)]).toEqual([args, [2, 3, 9]]);
    }
    expect((await run('metrics', '--member', '9')).stderr).toContain('127.0.0.1:12/metrics does not answer');
    expect(await run('metrics', '--member', '1')).toMatchObject({ exitCode: 2, stderr: expect.stringContaining('the group has no member 1: 2, 3, 9') as string });
  });
});
