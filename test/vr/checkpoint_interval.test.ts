/** How often checkpoints are taken, changed while the group runs: told one message at a time. */
import { describe, expect, test } from 'vitest';
import { assert, defined } from '../../lib/assert.ts';
import { opNumber } from '../../lib/ids.ts';
import { decodeIntervalBody, encodeIntervalBody, MAX_INTERVAL_BYTES, MAX_INTERVAL_OPS, MIN_INTERVAL_BYTES, refusal } from '../../vr/checkpoint_interval.ts';
import type { Interval, Message } from '../../vr/messages.ts';
import { Cluster, type ClusterOptions } from './cluster.ts';
import type { Node } from './node.ts';
import { TestClient } from './test_client.ts';

interface Wanted { readonly ops: number; readonly bytes?: number; readonly after?: number }

class Tuner {
  readonly #cluster: Cluster;
  #connection = 2000;

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  send(to: Node, wanted: Wanted | null, nonce = this.#cluster.random.bytes(16)): () => Message | undefined {
    const connection = ++this.#connection;
    const change = wanted === null ? null : { after: opNumber(wanted.after ?? 0), ops: wanted.ops, bytes: wanted.bytes ?? 64 << 20 };
    to.replica.receive(connection, { type: 'askInterval', nonce, change });
    return () => this.#cluster.replies.find((r) => r.connection === connection)?.message;
  }

  ask(wanted: Wanted | null): Message {
    const answer = this.send(this.#cluster.untilServing(), wanted);
    this.#cluster.until(() => answer() !== undefined, 'an answer');
    return defined(answer(), 'answer');
  }

  /** Makes it so, whatever it was. */
  set(ops: number): Interval {
    const now = this.ask(null);
    assert(now.type === 'interval', 'the present interval');
    const answer = this.ask({ ops, after: now.since });
    assert(answer.type === 'interval' && answer.ops === ops, `answered with ${JSON.stringify(answer)}`);
    return answer;
  }
}

function started(options: ClusterOptions = {}): { cluster: Cluster; client: TestClient; tuner: Tuner } {
  const cluster = new Cluster({ ...options, replica: { checkpointOps: 1000, ...options.replica } });
  return { cluster, client: new TestClient(cluster).register(), tuner: new Tuner(cluster) };
}

function writeTo(client: TestClient, head: number): void {
  while (client.cluster.untilServing().replica.log.head < head) client.write('filler');
}

/** Ops at which a node has taken a checkpoint, or left one out. */
function points(node: Node): unknown[] {
  return node.events.filter((e) => e.name === 'checkpoint' || e.name === 'checkpoint-skipped').map((e) => e['op']);
}

describe('a change of the checkpoint interval', () => {
  test('holds from its op on, on every replica', () => {
    const { cluster, client, tuner } = started();
    expect(tuner.ask(null)).toMatchObject({ type: 'interval', ops: 1000, bytes: 64 << 20, since: 0 });
    writeTo(client, 8);
    const answer = tuner.set(5);
    expect(answer.since).toBe(9);
    writeTo(client, 21);
    cluster.untilConverged();
    for (const node of cluster.nodes) {
      expect(points(node)).toEqual([10, 15, 20]);
      expect(node.replica.status().checkpointInterval).toEqual({ ops: 5, bytes: 64 << 20, since: 9 });
    }
  });

  test('counts itself by the new interval', () => {
    const { cluster, client, tuner } = started();
    writeTo(client, 8);
    expect(tuner.set(9).since).toBe(9);
    cluster.untilConverged();
    for (const node of cluster.nodes) expect(points(node)).toEqual([9]);
  });

  test('of bytes: those of the log since the last point', () => {
    const { cluster, client, tuner } = started();
    expect(tuner.ask({ ops: 1000, bytes: 1024 })).toMatchObject({ type: 'interval', bytes: 1024 });
    for (let i = 0; i < 4; i++) client.write('x'.repeat(600));
    cluster.untilConverged();
    const [first, ...others] = cluster.nodes.map(points);
    expect(first?.length).toBe(2);
    for (const other of others) expect(other).toEqual(first);
  });

  test('is still there after a restart of the whole group, whatever it is configured with', () => {
    const { cluster, client, tuner } = started();
    tuner.set(5);
    writeTo(client, 12);
    cluster.untilConverged();
    for (const node of cluster.nodes) node.restart();
    cluster.untilServing();
    writeTo(client, 21);
    cluster.untilConverged();
    for (const node of cluster.nodes) {
      expect(node.replica.status().checkpointInterval).toMatchObject({ ops: 5 });
      expect(points(node)).toEqual([5, 10, 15, 20]);
    }
  });

  test('comes with the state that a replica takes over', () => {
    const { cluster, client, tuner } = started();
    const late = cluster.node(2);
    writeTo(client, 3);
    cluster.untilConverged();
    late.crash();
    tuner.set(5);
    writeTo(client, 30);
    late.start();
    cluster.untilConverged();
    expect(late.event('state-installed')).toBeDefined();
    writeTo(client, 41);
    cluster.untilConverged();
    expect(late.replica.status().checkpointInterval).toMatchObject({ ops: 5 });
    expect(points(late).slice(-2)).toEqual([35, 40]);
  });

  test('that was logged and not committed is dropped with its view', () => {
    const { cluster, client, tuner } = started();
    const old = cluster.untilServing();
    cluster.isolate(old.id);
    const answer = tuner.send(old, { ops: 5 });
    cluster.run(50);
    cluster.until(() => cluster.nodes.some((n) => n !== old && n.replica.normal.serving), 'another primary');
    cluster.heal();
    writeTo(client, 12);
    cluster.untilConverged();
    expect(answer()).toBeUndefined();
    for (const node of cluster.nodes) expect(node.replica.status().checkpointInterval).toMatchObject({ ops: 1000, since: 0 });
  });
});

describe('asked for again', () => {
  test('by the same: it is done once, and both are told', () => {
    const { cluster, tuner } = started();
    const leader = cluster.untilServing();
    const nonce = cluster.random.bytes(16);
    tuner.send(leader, { ops: 5 }, nonce);
    const second = tuner.send(leader, { ops: 5 }, nonce);
    cluster.until(() => second() !== undefined, 'an answer');
    const { head } = leader.replica.log;
    expect(second()).toMatchObject({ type: 'interval', ops: 5, since: head });
    const third = tuner.send(leader, { ops: 5 }, nonce);
    cluster.until(() => third() !== undefined, 'an answer');
    expect(third()).toEqual(second());
    expect(leader.replica.log.head).toBe(head);
  });

  test('by two at once: the second changes nothing, and is told what it is now', () => {
    const { cluster, tuner } = started();
    const leader = cluster.untilServing();
    const first = tuner.send(leader, { ops: 5 });
    const second = tuner.send(leader, { ops: 7 });
    cluster.until(() => first() !== undefined && second() !== undefined, 'answers');
    expect(first()).toMatchObject({ type: 'interval', ops: 5, since: leader.replica.log.head - 1 });
    expect(second()).toMatchObject({ type: 'interval', ops: 5, since: leader.replica.log.head - 1 });
  });

  test('of another view\'s primary, after the one that was asked is gone', () => {
    const { cluster, tuner } = started();
    const old = cluster.untilServing();
    const nonce = cluster.random.bytes(16);
    // The answer is lost with the primary, the change is not.
    cluster.drop = (p) => p.to === old.id && p.message.type === 'prepareOk';
    tuner.send(old, { ops: 5 }, nonce);
    cluster.run(20);
    old.crash();
    cluster.heal();
    const leader = cluster.untilServing();
    const { head } = leader.replica.log;
    const again = tuner.send(leader, { ops: 5 }, nonce);
    cluster.until(() => again() !== undefined, 'an answer');
    expect(again()).toMatchObject({ type: 'interval', ops: 5, since: head });
    expect(leader.replica.log.head).toBe(head);
  });
});

describe('who may answer', () => {
  test('a backup redirects', () => {
    const { cluster, tuner } = started();
    const leader = cluster.untilServing();
    const backup = defined(cluster.nodes.find((n) => n !== leader), 'backup');
    const answer = tuner.send(backup, { ops: 5 });
    cluster.run(20);
    expect(answer()).toMatchObject({ type: 'redirect' });
  });

  test('a primary that may have been deposed says nothing', () => {
    const { cluster, tuner } = started();
    const leader = cluster.untilServing();
    cluster.isolate(leader.id);
    cluster.run(leader.replica.options.leaseMs + 50);
    const answer = tuner.send(leader, null);
    cluster.run(200);
    expect(answer()?.type).not.toBe('interval');
  });
});

describe('what is refused', () => {
  const limits = { maxLogEntries: 100_000, maxLogBytes: 256 << 20 };
  const good = { ops: 1000, bytes: 64 << 20 };

  test.each([
    [{ ...good, ops: 0 }, /every 0 operations: from 1 to 10000000/],
    [{ ...good, ops: MAX_INTERVAL_OPS + 1 }, /from 1 to 10000000/],
    [{ ...good, bytes: MIN_INTERVAL_BYTES - 1 }, /after 1023 bytes of log: from 1024 to/],
    [{ ...good, bytes: MAX_INTERVAL_BYTES + 1 }, /bytes of log: from 1024 to/],
    [{ ...good, ops: 50_001 }, /at most half of maxLogEntries, 50000.*raise maxLogEntries/],
    [{ ...good, bytes: (128 << 20) + 1 }, /at most half of maxLogBytes, 134217728.*raise maxLogBytes/],
  ])('%j', (change, reason) => {
    expect(refusal(change, limits)).toMatch(reason);
  });

  test.each([[good], [{ ops: 1, bytes: MIN_INTERVAL_BYTES }], [{ ops: 50_000, bytes: 128 << 20 }]])('%j is not', (change) => {
    expect(refusal(change, limits)).toBeNull();
  });

  test('by the primary, with the reason, and nothing is logged', () => {
    const { cluster, tuner } = started();
    const { head } = cluster.untilServing().replica.log;
    expect(tuner.ask({ ops: 0 })).toMatchObject({ type: 'refused', code: 'invalid', reason: expect.stringContaining('from 1 to') });
    expect(cluster.untilServing().replica.log.head).toBe(head);
  });

  test('while the log may not grow: ask again', () => {
    const { cluster, client, tuner } = started({ replica: { checkpointOps: 5, maxLogEntries: 20 } });
    for (const node of cluster.nodes) node.slowCheckpoint = true;
    writeTo(client, 20);
    expect(tuner.ask({ ops: 7 })).toMatchObject({ type: 'refused', code: 'busy' });
    for (const node of cluster.nodes) node.slowCheckpoint = false;
    cluster.run(20);
    expect(tuner.ask({ ops: 7 })).toMatchObject({ type: 'interval', ops: 7 });
  });
});

test('the body of its entry: golden bytes, and every truncation has a reason', () => {
  const body = { nonce: Buffer.from('0123456789abcdef'), change: { after: opNumber(9), ops: 1000, bytes: 2 ** 40 } };
  const bytes = encodeIntervalBody(body);
  expect(bytes.toString('hex')).toBe(`${Buffer.from('0123456789abcdef').toString('hex')}000000000009000003e80000010000000000`);
  expect(decodeIntervalBody(bytes)).toEqual({ ok: true, value: body });
  for (let n = 0; n < bytes.length; n++) expect(decodeIntervalBody(bytes.subarray(0, n)).ok).toBe(false);
});
