import { createServer } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import type { CheckpointInfo } from '../../checkpoint/checkpoint_info.ts';
import { FetchFailed, TargetGone, type DonorConnection, type FetchReport } from '../../checkpoint/fetch_report.ts';
import { ZERO_DIGEST } from '../../lib/hash.ts';
import { memberId, opNumber, view } from '../../lib/ids.ts';
import { MemoryTable } from '../../lib/memory_table.ts';
import type { CheckpointId } from '../../vr/superblock.ts';
import { decodeExtra, encodeExtra } from '../../lib/checkpoint_extra.ts';
import { checkpointId, DonorClient, StoreCheckpoints, type CheckpointStore, type StoreCheckpointsOptions } from '../../server/checkpoint_port.ts';
import { CLUSTER_ID_HEADER } from '../../server/running_replica.ts';
import { waitUnlessEnded } from '../../server/wait.ts';
import { CLUSTER_ID, groupOf, until } from './support.ts';

const cleanups: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

const TARGET: CheckpointId = { op: opNumber(7), root: ZERO_DIGEST, entryHash: ZERO_DIGEST, view: view(2), time: 1_700_000_000_000_001 };
const REPORT: FetchReport = {
  bytesReceived: 10, bytesSent: 5, recordBytes: 8, recordsChanged: 2, stateBytes: 99, requests: 3, milliseconds: 4,
  donors: [{ name: 'member 2', requests: 1, bytesReceived: 0, error: 'gone' }, { name: 'member 3', requests: 2, bytesReceived: 10, error: null }],
};

class FakeStore extends MemoryTable implements CheckpointStore {
  outcome: () => Promise<FetchReport> = () => Promise.resolve(REPORT);
  takeError: Error | null = null;
  donors: readonly DonorConnection[] = [];
  checkpoint: CheckpointInfo | null = { op: opNumber(1), root: ZERO_DIGEST, extra: encodeExtra(TARGET), count: 0 };

  work: () => void = () => undefined;

  async take(op: CheckpointInfo['op'], extra: Buffer, turn: Promise<void>): Promise<CheckpointInfo> {
    await turn;
    this.work();
    if (this.takeError !== null) throw this.takeError;
    return { op, root: ZERO_DIGEST, extra, count: 0 };
  }
  fetch(_target: unknown, donors: readonly DonorConnection[]): Promise<FetchReport> {
    this.donors = donors;
    return this.outcome();
  }
}

function port(store: FakeStore, options: Partial<StoreCheckpointsOptions> = {}): { port: StoreCheckpoints; events: string[] } {
  const events: string[] = [];
  const checkpoints = new StoreCheckpoints({
    store, self: memberId(1), donors: { connection: (name, _address, lastResort) => ({ name, lastResort: lastResort === true, request: (b) => Promise.resolve(b) }) },
    onDurable: (id) => { events.push(`durable ${id.op}`); },
    onInstalled: (id, report) => { events.push(`installed ${id.op} of ${report.donors.join()}`); },
      onFetchFailed: (reason, intact) => { events.push(`failed, ${intact ? 'intact' : 'between'}: ${reason}`); },
      onProgress: () => undefined,
    fatal: (error) => { events.push(`fatal: ${error.message}`); },
    ...options,
  });
  checkpoints.setMembers(groupOf(['a:1', 'b:1', 'c:1']).members);
  return { port: checkpoints, events };
}

describe('the checkpoint port', () => {
  it('keeps with a checkpoint where its log goes on', async () => {
    const info = await new FakeStore().take(TARGET.op, encodeExtra(TARGET), Promise.resolve());
    expect(checkpointId(info)).toEqual(TARGET);
    const bytes = encodeExtra(TARGET);
    for (let n = 0; n < bytes.length; n++) expect(decodeExtra(bytes.subarray(0, n)).ok).toBe(false);
  });

  it('tells when a checkpoint is durable, and ends the process when it cannot be written', async () => {
    const store = new FakeStore();
    const { port: checkpoints, events } = port(store);
    checkpoints.take(TARGET, 0);
    expect(events).toEqual([]);
    await until(() => events.length === 1, 'durable');
    store.takeError = new Error('ENOSPC: no space left on device');
    checkpoints.take({ ...TARGET, op: opNumber(8) }, 0);
    await until(() => events.length === 2, 'fatal');
    expect(events[0]).toBe('durable 7');
    expect(events[1]).toMatch(/fatal: the checkpoint of op 8 could not be written: ENOSPC.*start the replica again/);
  });

  it('begins with a checkpoint when it is its turn', async () => {
    const steps: string[] = [];
    const store = new FakeStore();
    let now = 5000;
    store.work = () => {
      steps.push('works');
      now += 18;
    };
    const { port: checkpoints, events } = port(store, {
      self: memberId(3), now: () => now,
      wait: (ms) => {
        steps.push(`waits ${Math.round(ms)}`);
        now += ms;
        return Promise.resolve();
      },
    });
    for (const [i, at] of [5000, 5050, 5150].entries()) {
      now = at;
      checkpoints.take(TARGET, i === 2 ? 1 : 0);
      await until(() => events.length === i + 1, 'durable');
    }
    // Twice what the last one took, without its wait, is left of 50 ms; the third is behind one that was left out.
    expect(steps).toEqual(['works', 'waits 14', 'works', 'waits 14', 'works']);
  });

  it('drops a checkpoint that waits for its turn when it is being stopped', async () => {
    const steps: string[] = [];
    const store = new FakeStore();
    store.work = () => { steps.push('works'); };
    let now = 0;
    const { port: checkpoints, events } = port(store, {
      self: memberId(3), now: () => (now += 1000),
      wait: async (_ms, signal) => {
        steps.push('waits');
        // Many days.
        await waitUnlessEnded(2 ** 31 - 1, signal);
      },
    });
    checkpoints.take(TARGET, 0);
    await until(() => events.length === 1, 'durable');
    checkpoints.take({ ...TARGET, op: opNumber(8) }, 0);
    await checkpoints.close();
    expect(steps).toEqual(['works', 'waits']);
    expect(events).toEqual(['durable 7']);
  });

  it('asks the donors it is given; what peers cannot give is told to the replica, what the own disk cannot do ends the process', async () => {
    const store = new FakeStore();
    const { port: checkpoints, events } = port(store);
    const request = { donors: [memberId(2), memberId(3)], lastResort: memberId(2), target: TARGET };
    const outcomes: [() => Promise<FetchReport>, RegExp][] = [
      [() => Promise.resolve(REPORT), /^installed 7 of member 3$/],
      [() => Promise.reject(new TargetGone(TARGET, [])), /^failed, intact: no donor holds/],
      [() => Promise.reject(new FetchFailed(TARGET, REPORT.donors)), /^failed, intact: .*member 2: gone/],
      [() => Promise.reject(new Error('EIO')), /^fatal: the state could not be taken over.*EIO/],
    ];
    for (const [outcome, expected] of outcomes) {
      store.outcome = outcome;
      checkpoints.fetch(request);
      await until(() => events.length === 1, 'the end of the fetch');
      expect(events.pop()).toMatch(expected);
    }
    expect(store.donors.map((d) => [d.name, d.lastResort])).toEqual([['member 2', true], ['member 3', false]]);
  });

  it('breaks a transfer off at the end, without telling a replica that is being stopped', async () => {
    const store = new FakeStore();
    const { port: checkpoints, events } = port(store);
    let reject: (error: Error) => void = () => undefined;
    store.outcome = () => new Promise((_resolve, r) => { reject = r; });
    checkpoints.fetch({ donors: [memberId(2)], lastResort: null, target: TARGET });
    const closed = checkpoints.close();
    reject(new Error('aborted'));
    await closed;
    expect(events).toEqual([]);
  });
});

describe('the connection to a donor', () => {
  const never = new AbortController().signal;
  it('posts the request under the group\'s id and gives what the donor says, also why it refuses', async () => {
    const seen: (string | undefined)[] = [];
    const server = createServer((request, response) => {
      seen.push(request.headers[CLUSTER_ID_HEADER] as string | undefined);
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => { chunks.push(chunk); });
      request.on('end', () => {
        const body = Buffer.concat(chunks);
        if (body.length === 0) response.writeHead(409).end('another group');
        else response.end(Buffer.concat([body, body]));
      });
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    cleanups.push(() => { server.close(); });
    const address = `127.0.0.1:${(server.address() as AddressInfo).port}`;
    const client = new DonorClient(CLUSTER_ID);
    cleanups.push(() => client.close());
    const donor = client.connection('member 2', address);
    let bytes = 0;
    const arrived = (more: number): void => { bytes += more; };
    expect(await donor.request(Buffer.from('ab'), never, arrived)).toEqual(Buffer.from('abab'));
    expect(bytes).toBe(4);
    await expect(donor.request(Buffer.alloc(0), never, arrived)).rejects.toThrow(/answered 409: another group/);
    expect(seen).toEqual([CLUSTER_ID.toString('hex'), CLUSTER_ID.toString('hex')]);
    const nobody = client.connection('member 3', '127.0.0.1:1');
    await expect(nobody.request(Buffer.from('x'), never, arrived)).rejects.toThrow(/ECONNREFUSED/);
    await expect(donor.request(Buffer.from('x'), AbortSignal.abort(new Error('stopped')), arrived)).rejects.toThrow(/stopped/);
  });
});
