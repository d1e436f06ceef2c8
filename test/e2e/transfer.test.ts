/**
 * State transfer between real `vrfs serve` processes whose donors give slowly: one that is killed in its midst goes on with
 * what it had, and a new member catches up while clients go on writing. Judged by bytes and op-numbers, not by time.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { FileSystem } from '../../client/file_system.ts';
import { defined } from '../../lib/assert.ts';
import { JoiningNode } from '../support/joining_node.ts';
import { CLI, until, type ProcessGroup, type StatusAnswer } from '../support/process_group.ts';
import { ALL, BOUND_MS, caughtUp, equalRoots, makeGroup } from './transfer_support.ts';

const run = promisify(execFile);
/** Bytes a second that each donor gives. */
const RATE = 1_000_000;
/** What a fetcher has in hand when it is killed: verified and not written yet, and two answers of a quarter of a second each. */
const IN_HAND = (2 << 20) + RATE;

/** Files of 4 KiB, many at a time. */
async function fill(fs: FileSystem, folder: string, files: number): Promise<void> {
  await fs.mkdir(folder);
  let next = 0;
  const writer = async (): Promise<void> => {
    for (let i = next++; i < files; i = next++) await fs.writeFile(`${folder}/file-${i}`, Buffer.alloc(4096, i));
  };
  await Promise.all(Array.from({ length: 32 }, writer));
}

function transferOf(status: StatusAnswer | undefined): NonNullable<StatusAnswer['recovery']['transfer']> | undefined {
  return status?.recovery.transfer ?? undefined;
}

describe.each(['disk', 'memory'] as const)('a replica that fetches, durability %s', (durability) => {
  it('is killed in the midst of it: the second time only what was left is fetched, then the log behind it', async () => {
    const { group, fs } = await makeGroup(durability, { transferRate: RATE });
    const last = ((await group.primary()) + 1) % 3;
    const donors = ALL.filter((i) => i !== last);
    await group.signal(last, 'SIGKILL');
    await fill(fs, '/bulk', 1800);
    group.start(last);
    const first = await until('a transfer that is well under way', BOUND_MS, async () => {
      const transfer = transferOf(await group.status(last));
      return transfer !== undefined && transfer.settled > 0.55 ? transfer : undefined;
    });
    // It stays in the midst of it for as long as it takes to look.
    for (const donor of donors) await group.signal(donor, 'SIGSTOP');
    const table = await run(process.execPath, [CLI, 'status', '--server', group.servers.join(',')]).catch((error: unknown) => error as { stdout: string });
    expect(table.stdout).toMatch(/\d+ %, [\d.]+ \w+ at [\d.]+ \w+\/s/);
    expect(await (await fetch(`${group.http(last)}/metrics`)).text()).toMatch(/\nvrfs_state_transfer_settled_ratio 0\.\d+\n/);
    await group.signal(last, 'SIGKILL');
    for (const donor of donors) await group.signal(donor, 'SIGCONT');
    group.start(last);
    const { recovery, executed } = await caughtUp(group, last);
    const second = defined(recovery.lastTransfer ?? undefined, 'a second transfer');
    const { stateBytes } = recovery;
    // What one transfer of all of it takes; the bytes of nodes and requests are little.
    expect(first.bytesReceived).toBeGreaterThan(IN_HAND);
    expect(second.bytesReceived).toBeLessThan(stateBytes * 1.1 - first.bytesReceived + IN_HAND);
    expect(second.bytesReceived).toBeGreaterThan(0);
    expect(group.log(last)).toMatch(/state transfer: \d+ % of the checkpoint of op \d+ is here, \d+ bytes fetched at \d+ bytes\/s/);
    // Then the log behind the checkpoint, and no more of it: an entry with a block takes less than 6 KB.
    const status = defined(await group.status(last), 'status');
    expect(status.recovery.logBytesReceived).toBeLessThan((executed - second.op + 200) * 6000);
    await equalRoots(group, fs);
    expect((await fs.readdir('/bulk')).length).toBe(1800);
  });
});

describe('a new member', () => {
  /** Clients that write without a pause, until they are told to stop. */
  class Writers {
    written = 0;
    #stop = false;
    readonly #all: readonly Promise<void>[];

    constructor(writers: number, write: (name: string) => Promise<unknown>) {
      this.#all = Array.from({ length: writers }, async (_, id) => {
        for (let i = 0; !this.#stop; i++) {
          await write(`${id}-${i}`);
          this.written++;
        }
      });
      // Also of a test that fails: the group is gone after it.
      onTestFinished(() => this.stop());
    }

    async stop(): Promise<void> {
      this.#stop = true;
      await Promise.all(this.#all);
    }
  }

  /** Makes it a voter, while clients write. */
  async function add(group: ProcessGroup, node: JoiningNode, writers: Writers): Promise<void> {
    const before = writers.written;
    const { stdout, stderr } = await run(process.execPath, [CLI, 'members', 'add', node.address, '--role', 'voter', '--server', group.servers.join(','), '--timeout', '120000']);
    // It has a vote, so it had caught up; and all the time clients were writing.
    expect(stdout + stderr).toMatch(/warmed|epoch/);
    expect(writers.written - before).toBeGreaterThan(200);
  }

  /** Its status when it has executed what was committed, within so many operations. */
  function upToDate(group: ProcessGroup, node: JoiningNode, within: number): Promise<StatusAnswer> {
    return until('the new member has executed what is committed', BOUND_MS, async () => {
      const primary = await group.status(await group.primary());
      const own = await node.status();
      return own !== undefined && primary !== undefined && own.status === 'normal' && own.executed >= primary.commit - within ? own : undefined;
    });
  }

  it('catches up while clients go on writing, with donors that give slowly', async () => {
    const { group, fs } = await makeGroup('disk', { transferRate: RATE, checkpointOps: 200, retainEntries: 200 });
    await fill(fs, '/bulk', 1500);
    await fs.mkdir('/load');
    const writers = new Writers(4, (name) => fs.writeFile(`/load/${name}`, `content ${name}`));
    const node = await JoiningNode.start(group, 'new', { checkpointOps: 200, retainEntries: 200, transferRate: RATE });
    onTestFinished(() => node.kill());
    await add(group, node, writers);
    const status = await upToDate(group, node, 200);
    await writers.stop();
    expect(status.recovery.transfers).toBeGreaterThan(0);
    // Each transfer after the first took only what had changed since: together hardly more than the state.
    expect(status.recovery.bytesReceived).toBeLessThan(status.recovery.stateBytes * 1.8);
    expect((await fs.readdir('/load')).length).toBe(writers.written);
    const donors = await Promise.all(ALL.map((i) => group.status(i)));
    const primary = await group.primary();
    // The backups gave, the primary had clients to serve.
    const given = donors.map((s) => s?.donor.bytesSent ?? 0);
    expect(given[primary]).toBeLessThan(Math.max(...given) / 4);
  });

  // As many operations under way as the group can take, and no more log behind a checkpoint than to the next one.
  it('ends its chase at full load', async () => {
    const config = { checkpointOps: 1000, retainEntries: 1000 };
    const { group, fs } = await makeGroup('disk', config);
    await fill(fs, '/bulk', 3000);
    await fs.mkdir('/load');
    const writers = new Writers(64, (name) => fs.mknod(`/load/${name}`, 'file'));
    const node = await JoiningNode.start(group, 'new', config);
    onTestFinished(() => node.kill());
    await add(group, node, writers);
    const status = await upToDate(group, node, 1000);
    await writers.stop();
    expect(status.recovery.transfers).toBeGreaterThan(0);
    expect((await fs.readdir('/load')).length).toBe(writers.written);
    await equalRoots(group, fs, () => node.status());
  });
});
