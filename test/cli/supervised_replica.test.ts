/** The supervision of a replica's process, with small programs in its place. */
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { replicaEnvironment, SupervisedReplica } from '../../cli/start/supervised_replica.ts';
import { until } from '../client/fake_group.ts';

const SERVES = "process.send({ type: 'ready', address: '', httpAddress: null }); process.on('disconnect', () => process.exit(0)); setInterval(() => {}, 1000);";
const refuses = (exitCode: number, final = false): string => `process.send({ type: 'failed', message: 'something is in the way', remedy: 'take it away', exitCode: ${exitCode}, final: ${final} }, () => process.exit(${exitCode}));`;

let directory: string;
let replica: SupervisedReplica;
let reports: string[];
const says = (text: string): Promise<void> => until(() => reports.some((r) => r.includes(text)));
const program = (text: string): Promise<void> => writeFile(join(directory, 'main.mjs'), text);

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'vrfs-supervised-'));
  await mkdir(join(directory, 'log'));
  reports = [];
  replica = new SupervisedReplica({ id: 3, main: join(directory, 'main.mjs'), config: 'config.json', log: join(directory, 'log', 'replica.log'), said: [] }, (line) => { reports.push(line); });
});
afterEach(async () => {
  vi.useRealTimers();
  await replica.stop();
  await rm(directory, { recursive: true });
});

describe('a supervised replica', () => {
  it('whose directory has gone is reported and tried again, and nobody else is disturbed', async () => {
    await program(SERVES);
    await replica.start();
    await rm(join(directory, 'log'), { recursive: true });
    process.kill(replica.pid ?? 0, 'SIGKILL');
    await says('replica 3 cannot be started: ENOENT');
    await mkdir(join(directory, 'log'));
    await says('replica 3 runs again');
  });

  it('that refuses to start is an error the first time, with its remedy, and is tried again later when that may help', async () => {
    await program(refuses(1));
    await expect(replica.start()).rejects.toThrow(/replica 3 .* cannot run: something is in the way/);
    await expect(replica.start()).rejects.toMatchObject({ exitCode: 1, remedy: 'take it away' });
    await program(SERVES);
    await replica.start();
    // As when the port of one that died has been taken: who holds it may let go of it.
    await program(refuses(5));
    process.kill(replica.pid ?? 0, 'SIGKILL');
    await says('cannot run: something is in the way');
    await program(SERVES);
    await says('replica 3 runs again');
  });

  it('that says that it will never run again is reported once, with the remedy, and not started again', async () => {
    await program(SERVES);
    await replica.start();
    await program(refuses(5, true));
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    process.kill(replica.pid ?? 0, 'SIGKILL');
    await says('Starting it again');
    vi.runOnlyPendingTimers();
    await says('something is in the way');
    expect(vi.getTimerCount()).toBe(0);
    expect(reports).toEqual([
      expect.stringMatching(/^replica 3 \(pid \d+\) ended unexpectedly \(SIGKILL\); see .* Starting it again in 0\.5 s\.$/),
      expect.stringMatching(/^replica 3 \(pid \d+\) cannot run: something is in the way; see .*replica\.log\. Remedy: take it away\. It is not started again; the others go on\.$/),
    ]);
  });

  it('whose process cannot be made is an error the first time, and is tried again later', async () => {
    const node = process.execPath;
    await program(SERVES);
    try {
      process.execPath = join(directory, 'no-node');
      await expect(replica.start()).rejects.toThrow(/replica 3 cannot be started: spawn .*no-node ENOENT/);
      await replica.stop();
      process.execPath = node;
      replica = new SupervisedReplica(replica.program, (line) => { reports.push(line); });
      await replica.start();
      process.execPath = join(directory, 'no-node');
      process.kill(replica.pid ?? 0, 'SIGKILL');
      await says('replica 3 cannot be started: spawn');
    } finally {
      process.execPath = node;
    }
    await says('replica 3 runs again');
  });

  it('that is killed or stopped while it starts has not started', async () => {
    await program('setInterval(() => {}, 1000);');
    const starting = replica.start();
    replica.kill();
    await expect(starting).rejects.toThrow('replica 3 was stopped before it served');
    replica = new SupervisedReplica(replica.program, (line) => { reports.push(line); });
    const again = replica.start();
    await Promise.all([replica.stop(), expect(again).rejects.toThrow('replica 3 was stopped before it served')]);
    expect(reports).toEqual([]);
  });

  it('is not told by the environment what only its own file may say', () => {
    expect(replicaEnvironment({ PATH: '/bin', VRFS_DATA: 'd', VRFS_LISTEN: 'a:1', VRFS_HTTP_LISTEN: 'a:2', VRFS_MEMBER_ID: '2', VRFS_CLUSTER_ID: '', VRFS_DURABILITY: '', VRFS_LOG_FILE: 'l', VRFS_VIEW_CHANGE_MS: '900' }, []))
      .toEqual({ PATH: '/bin', VRFS_VIEW_CHANGE_MS: '900' });
  });

  it('is not told by the environment what the command line of the group has said otherwise', async () => {
    process.env['VRFS_CHECKPOINT_OPS'] = '77';
    try {
      await program(`import { writeFileSync } from 'node:fs'; writeFileSync(${JSON.stringify(join(directory, 'environment'))}, JSON.stringify(process.env)); ${SERVES}`);
      for (const [said, expected] of [[[], '77'], [['checkpointOps'], undefined]] as const) {
        replica = new SupervisedReplica({ ...replica.program, said }, (line) => { reports.push(line); });
        await replica.start();
        expect((JSON.parse(await readFile(join(directory, 'environment'), 'utf8')) as NodeJS.ProcessEnv)['VRFS_CHECKPOINT_OPS']).toBe(expected);
        await replica.stop();
      }
    } finally {
      delete process.env['VRFS_CHECKPOINT_OPS'];
    }
  });
});
