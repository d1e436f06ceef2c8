import { describe, expect, it, onTestFinished } from 'vitest';
import { VrfsClient } from '../../client/client.ts';
import { FileSystem } from '../../client/file_system.ts';
import { defined } from '../../lib/assert.ts';
import { sessionPage } from '../../server/session_list.ts';
import { started, writeAll } from '../vr/administrator.ts';
import { TestGroup } from './group.ts';
import { until } from './support.ts';

async function clientOf(group: TestGroup, name: string, holdsOpens: boolean): Promise<FileSystem> {
  const client = await VrfsClient.connect({ servers: group.configuration.members.map((m) => m.address), clusterId: group.clusterId, name, holdsOpens });
  onTestFinished(() => client.close());
  const fs = new FileSystem(client);
  await fs.mkdir(`/${name}`);
  return fs;
}

describe('the sessions that a replica knows', () => {
  it('are none at a witness, which executes nothing: it does not say that there are none', () => {
    const { cluster, client } = started({ members: 3, witnesses: 1 });
    writeAll(client, 'some', 3);
    cluster.untilConverged();
    const [voter, , witness] = cluster.nodes.map((node) => node.replica);
    expect(sessionPage(defined(voter, 'a voter'), 0, 10)).toMatchObject({ sessions: [{ slots: 1 }], last: true });
    expect(sessionPage(defined(witness, 'a witness'), 0, 10)).toBeNull();
  });

  it('are the same at each, in pages, and after a start', async () => {
    const group = await TestGroup.make();
    await group.startAll();
    const before = Date.now() * 1000;
    await clientOf(group, 'one', false);
    const two = await clientOf(group, 'two', true);
    await clientOf(group, 'three', false);
    const pageOf = (id: number, after = 0, limit = 10) => defined(group.replica(id).sessions(after, limit) ?? undefined, 'a list');
    for (const id of [1, 2, 3]) {
      // Each knows what it has executed.
      await until(() => pageOf(id).sessions.filter((s) => s.slots > 0).length === 3, `replica ${id} has executed all three`);
      const { sessions, last } = pageOf(id);
      expect(last).toBe(true);
      expect(sessions.map((s) => [s.name, s.holdsOpens])).toEqual([['one', false], ['two', true], ['three', false]]);
      expect(sessions.map((s) => s.id)).toEqual([...sessions.map((s) => s.id)].sort((a, b) => a - b));
      for (const s of sessions) expect(s.lastActive).toBeGreaterThanOrEqual(before);
    }
    const backup = group.replica(1).status().replica.primary === 1 ? 2 : 1;
    const whole = pageOf(backup).sessions;
    const first = pageOf(backup, 0, 2);
    expect([first.sessions.map((s) => s.name), first.last]).toEqual([['one', 'two'], false]);
    const second = pageOf(backup, defined(first.sessions[1], 'a session').id, 2);
    expect([second.sessions.map((s) => s.name), second.last]).toEqual([['three'], true]);
    expect(pageOf(backup, defined(whole[2], 'a session').id, 2)).toMatchObject({ sessions: [], last: true });
    await group.stopOne(backup);
    await group.start(backup);
    const active = (): number | undefined => group.replica(backup).sessions(0, 10)?.sessions.find((s) => s.name === 'two')?.lastActive;
    await until(() => active() !== undefined, 'it has its table again');
    expect(pageOf(backup).sessions.map((s) => s.id)).toEqual(whole.map((s) => s.id));
    const then = defined(active(), 'the session');
    await two.mkdir('/later');
    await until(() => (active() ?? 0) > then, 'it has executed what the session did');
  });
});
