/** The end of a replica in order, also when something is not as it was left, or comes in between. */
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { pino } from 'pino';
import { describe, expect, it, vi } from 'vitest';
import type { VrfsClient } from '../../client/client.ts';
import { StoreDamageError } from '../../checkpoint/store_damage.ts';
import { ROOT_INO } from '../../fsservice/operations.ts';
import { loadConfig } from '../../server/config.ts';
import { LOCK_NAME } from '../../server/process_lock.ts';
import { startReplica, type ReplicaProcess, type StartOptions } from '../../server/replica_process.ts';
import { TestGroup } from './group.ts';
import { until } from './support.ts';

interface Started {
  readonly replica: ReplicaProcess;
  readonly lock: string;
  readonly lines: string[];
  readonly fatal: Error[];
}

/** The first of a group of three, alone. */
async function start(attachHttp?: StartOptions['attachHttp']): Promise<Started> {
  const group = await TestGroup.make();
  const config = await loadConfig({ flags: { data: group.data(1) } });
  const lines: string[] = [];
  const fatal: Error[] = [];
  const log = pino({ level: 'info' }, { write: (line: string) => { lines.push((JSON.parse(line) as { msg: string }).msg); } });
  const replica = await startReplica(config, log, { onFatal: (error) => { fatal.push(error); }, ...(attachHttp === undefined ? {} : { attachHttp }) });
  return { replica, lock: join(group.data(1), LOCK_NAME), lines, fatal };
}

function make(client: VrfsClient, name: string): ReturnType<VrfsClient['submit']> {
  return client.submit({ credentials: { uid: 0, gid: 0, groups: [] }, operation: { type: 'mkdir', at: { dir: ROOT_INO, path: Buffer.from(name) }, mode: 0o755 } });
}

describe('a primary that stops', () => {
  it('lets another lead first, so that nobody has to miss it', async () => {
    // Longer than any of this takes: nobody is missed.
    const group = await TestGroup.make({ flags: { viewChangeMs: 5000 } });
    await group.startAll();
    const client = await group.client();
    await make(client, 'before');
    const [one, ...others] = [1, 2, 3].map((id) => group.replica(id));
    await until(() => one?.status().replica.isPrimary === true, 'the first leads');
    const under = Array.from({ length: 50 }, (_, i) => make(client, `under-way-${i}`));
    await one?.stop();
    expect(one?.eventCounts().get('steps-down')).toBe(1);
    // It has seen the next view begin before it ended.
    expect(one?.eventCounts().get('normal')).toBe(1);
    expect(others.some((r) => r.status().replica.isPrimary)).toBe(true);
    for (const made of await Promise.all(under)) expect(made.ok).toBe(true);
  });

  it('ends also when the others have ended', async () => {
    const group = await TestGroup.make();
    await group.startAll();
    const replicas = [1, 2, 3].map((id) => group.replica(id));
    await make(await group.client(), 'all are there');
    await Promise.all(replicas.map((r) => r.stop()));
    expect(replicas[0]?.eventCounts().get('steps-down')).toBe(1);
  });
});

describe('a replica that stops', () => {
  it('steps down again when its HTTP API has ended: the others may have given it the lead meanwhile', async () => {
    let closeHttp: () => void = () => undefined;
    const closed = new Promise<void>((resolve) => { closeHttp = resolve; });
    const { replica } = await start(() => Promise.resolve({ address: '127.0.0.1:1', close: () => closed }));
    const stepDown = vi.spyOn(replica.replica, 'stepDown');
    const stopped = replica.stop();
    await until(() => stepDown.mock.calls.length === 1, 'it steps down');
    closeHttp();
    await stopped;
    expect(stepDown).toHaveBeenCalledTimes(2);
  });

  it('does not mind when its lock was removed by hand', async () => {
    const { replica, lock, lines } = await start();
    await rm(lock);
    await replica.stop();
    await replica.stopped;
    expect(lines.at(-1)).toBe('replica stopped');
  });

  it('says what could not be closed, to whoever waits for its end too', async () => {
    const { replica, lock } = await start();
    await rm(lock);
    await mkdir(lock);
    await expect(replica.stop()).rejects.toThrow(/EISDIR/);
    await expect(replica.stopped).rejects.toThrow(/EISDIR/);
  });

  it('leaves damage that it finds meanwhile to its next start', async () => {
    let closeHttp: () => void = () => undefined;
    const closed = new Promise<void>((resolve) => { closeHttp = resolve; });
    const { replica, lines, fatal } = await start(() => Promise.resolve({ address: '127.0.0.1:1', close: () => closed }));
    const stopped = replica.stop();
    vi.spyOn(replica.replica, 'tick').mockImplementationOnce(() => { throw new StoreDamageError('record', 'told by a test'); });
    await until(() => lines.some((line) => line.includes('told by a test')), 'the damage is found');
    expect(replica.health()).not.toMatchObject({ reason: expect.stringMatching(/being repaired/) as string });
    closeHttp();
    await stopped;
    expect(replica.status().store.damages).toBe(0);
    expect(lines).toContain('the records are damaged (told by a test), and the replica is being stopped: its next start repairs them');
    expect(lines.at(-1)).toBe('replica stopped');
    expect(fatal).toEqual([]);
  });

  it('closes an HTTP API that came up while it stopped', async () => {
    let closes = 0;
    const { replica } = await start(async (running) => {
      await running.stop();
      return { address: '127.0.0.1:1', close: () => Promise.resolve(void closes++) };
    });
    await replica.stopped;
    expect(closes).toBe(1);
  });

  it('while its HTTP API comes up, as one that leaves its group may, says of no start behind its end', async () => {
    const { lines } = await start(async (running) => {
      await running.stop();
      return { address: '127.0.0.1:1', close: () => Promise.resolve() };
    });
    expect(lines.at(-1)).toBe('replica stopped');
    expect(lines).not.toContain('replica started');
  });
});
