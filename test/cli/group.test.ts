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
