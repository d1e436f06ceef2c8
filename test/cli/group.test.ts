/** The commands that ask each replica's HTTP API about itself. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { epoch, memberId } from '../../lib/ids.ts';
import { startHttp, type HttpServer } from '../../server/http/server.ts';
import { configuration } from '../../vr/configuration.ts';
import { FakeGroup } from '../client/fake_group.ts';
import { FakeClient, FakeLog, FakeReplica } from '../server/http/support.ts';
import { vrfs, type CliResult } from './harness.ts';

let group: FakeGroup;
let replica: FakeReplica;
let http: HttpServer;

beforeEach(async () => {
  group = await FakeGroup.start(2);
  replica = new FakeReplica();
  http = await startHttp({ running: replica, client: new FakeClient(), log: new FakeLog(), host: '127.0.0.1', port: 0 });
  const members = group.configuration.members.map((m, i) => ({ id: memberId(i + 1), role: 'voter' as const, address: m.address, httpAddress: i === 0 ? http.address : '127.0.0.1:1' }));
  group.configuration = configuration(epoch(0), members, 'disk');
});
afterEach(async () => {
  await http.close();
  await group.stop();
});

const run = (...args: string[]): Promise<CliResult> => vrfs([...args, '--timeout', '5000'], { servers: group.servers });
const addressOf = (id: number): string => group.configuration.members.find((m) => m.id === id)?.address ?? '';
/** The cells of a table, which are two spaces apart at least. */
const cells = (line: string | undefined): string[] => (line ?? '').split(/ {2,}/);

describe('vrfs status', () => {
  it('shows what each replica is, since when it runs, and how far it is', async () => {
    const { stdout, exitCode } = await run('status');
    expect(exitCode).toBe(1);
    const lines = stdout.split('\n');
    expect(cells(lines[0])).toEqual(['ID', 'ADDRESS', 'ROLE', 'UP', 'VIEW', 'OP', 'COMMIT', 'EXECUTED', 'CHECKPOINT', 'FETCHED']);
    expect(cells(lines[1])).toEqual(['1', addressOf(1), 'primary', '25 h', '3', '42', '41', '41', `40 ${'0'.repeat(12)}`, '2.0 KiB of 1.0 MiB']);
    expect(cells(lines[2])).toEqual(['2', addressOf(2), 'no answer']);
  });

  it('shows with --verbose what runs, and not the same again', async () => {
    const { stdout } = await run('status', '--verbose');
    const lines = stdout.split('\n');
    const at = lines.findIndex((line) => line.includes('VERSION'));
    expect(cells(lines[at])).toEqual(['ID', 'VERSION', 'EPOCH', 'DURABILITY', 'GROUP']);
    expect(cells(lines[at + 1])).toEqual(['1', '0.1.0', '0', 'disk', '00112233445566778899aabbccddeeff']);
  });
});

describe('vrfs sessions', () => {
  const session = (id: number, name: string, holdsOpens = false) => ({ id, name, lastActive: Date.UTC(2026, 10, 30, 16, 20, 4) * 1000 + 5, holdsOpens, slots: 3 });

  it('shows who has a session, as one replica knows it', async () => {
    replica.sessionsNow = [session(7, 'mount /mnt/vrfs', true), session(12, 'cli\u001b[2J'), session(13, '')];
    const { stdout, stderr, exitCode } = await run('sessions');
    expect(stdout.trimEnd().split('\n').map(cells)).toEqual([
      ['ID', 'NAME', 'LAST ACTIVE', 'SLOTS', 'HOLDS'],
      ['7', 'mount /mnt/vrfs', '2026-11-30T16:20:04Z', '3', 'files open'],
      ['12', 'cli\\x1b[2J', '2026-11-30T16:20:04Z', '3', '-'],
      ['13', '-', '2026-11-30T16:20:04Z', '3', '-'],
    ]);
    // Another member does not answer, which is nothing to end for.
    expect([exitCode, stderr]).toEqual([0, '3 sessions, as of operation 41, at replica 1\n']);
  });

  it('shows all of them, of however many pages', async () => {
    replica.sessionsNow = Array.from({ length: 2500 }, (_, i) => session(i + 1, `client ${i + 1}`));
    const told = JSON.parse((await run('sessions', '--json')).stdout) as { id: number; executed: number; sessions: { id: number; name: string }[] };
    expect(told).toMatchObject({ id: 1, executed: 41, sessions: { length: 2500 } });
    expect(told.sessions[0]).toEqual({ id: 1, name: 'client 1', lastActiveMicros: Date.UTC(2026, 10, 30, 16, 20, 4) * 1000 + 5, holdsOpens: false, slots: 3 });
    expect(told.sessions.map((s) => s.id)).toEqual(Array.from({ length: 2500 }, (_, i) => i + 1));
  });

  it('asks one member where that is wanted, and says why nobody knows', async () => {
    replica.sessionsNow = [session(7, 'mount /mnt/vrfs')];
    expect((await run('sessions', '--member', '1')).stdout).toContain('mount /mnt/vrfs');
    expect(await run('sessions', '--member', '2')).toMatchObject({ exitCode: 1, stdout: '', stderr: expect.stringContaining('replica 2: http://127.0.0.1:1/v1/sessions?limit=1024 does not answer') as string });
    expect(await run('sessions', '--member', '9')).toMatchObject({ exitCode: 2, stderr: expect.stringContaining('the group has no member 9: 1, 2') as string });
    replica.sessionsNow = null;
    const none = await run('sessions');
    expect(none).toMatchObject({ exitCode: 1, stdout: '', stderr: expect.stringContaining('replica 1: ') as string });
    expect(none.stderr).toContain('a witness, or');
  });
});
