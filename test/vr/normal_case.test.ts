import { describe, expect, test } from 'vitest';
import { assert, defined } from '../../lib/assert.ts';
import { memberId, sessionId } from '../../lib/ids.ts';
import { SESSION_HOLDS_OPENS, type Prepare } from '../../vr/messages.ts';
import { Cluster, EVERYTHING } from './cluster.ts';
import { bodies, started } from './settled_cluster.ts';
import { TestClient } from './test_client.ts';

function prepares(cluster: Cluster, to: number): Prepare[] {
  return cluster.sent.filter((p) => p.to === to && p.message.type === 'prepare').map((p) => p.message as Prepare);
}

describe('the normal case (VRR 4.1)', () => {
  test.each([1, 2, 3, 4, 5])('a group of %i executes a request everywhere and answers once', (members) => {
    const { cluster, client } = started({ members });
    expect(client.session).toBe(1);
    expect(client.write('a')).toMatchObject({ slot: 0, seq: 1, view: 0, op: 2, result: Buffer.from('2:a') });
    cluster.untilConverged();
    for (let i = 0; i < members; i++) expect(bodies(cluster, i)).toEqual(['a']);
    expect(client.replies.filter((m) => m.type === 'reply').length).toBe(1);
  });

  test('a quorum is enough, less is not', () => {
    const { cluster, client } = started({ members: 5 });
    cluster.isolate(memberId(4), memberId(5));
    expect(client.write('three of five').op).toBe(2);
    cluster.node(2).crash();
    const seq = client.post(cluster.node(0), 'two of five');
    cluster.run(200);
    expect(client.replyTo(0, seq)).toBeUndefined();
    expect(cluster.node(0).replica.commit).toBe(2);
  });

  test('of an even group too: two of four commit nothing', () => {
    const { cluster, client } = started({ members: 4 });
    cluster.isolate(memberId(3), memberId(4));
    const seq = client.post(cluster.node(0), 'two of four');
    cluster.run(5_000);
    expect(client.replyTo(0, seq)).toBeUndefined();
    for (const n of cluster.nodes) expect(n.replica.commit).toBe(1);
  });

  test('no acknowledgement before the disk has it, and the primary counts itself no earlier', () => {
    const { cluster, client } = started();
    for (const n of cluster.nodes) n.slowJournal = true;
    const seq = client.post(cluster.node(0), 'slow');
    cluster.run(100);
    expect(cluster.node(1).replica.log.head).toBe(2);
    expect(cluster.node(0).replica.commit).toBe(1);
    // One backup alone is no quorum without the primary's own disk.
    cluster.node(1).slowJournal = false;
    cluster.run(100);
    expect(client.replyTo(0, seq)).toBeUndefined();
    cluster.node(0).slowJournal = false;
    cluster.run(20);
    expect(client.replyTo(0, seq)).toBeDefined();
  });

  test('two backups are a quorum while the primary\'s disk is slow', () => {
    const { cluster, client } = started();
    cluster.node(0).slowJournal = true;
    client.write('beside its own disk');
    expect(cluster.node(0).disk.head).toBe(1);
  });

  test('a single replica answers only what is on its disk', () => {
    const { cluster, client } = started({ members: 1 });
    const [one] = cluster.nodes;
    defined(one, 'node').slowJournal = true;
    const seq = client.post(cluster.node(0), 'x');
    cluster.run(200);
    expect(client.replyTo(0, seq)).toBeUndefined();
    defined(one, 'node').slowJournal = false;
    cluster.run(20);
    expect(client.replyTo(0, seq)).toBeDefined();
  });

  test('heart-beats tell the commit-number to a group that is idle', () => {
    const { cluster, client } = started();
    client.write('last');
    cluster.run(100);
    for (const n of cluster.nodes) expect(n.replica.executed).toBe(2);
    const before = cluster.sentBy(memberId(1), 'commit').length;
    cluster.run(1_000);
    const perPeer = (cluster.sentBy(memberId(1), 'commit').length - before) / 2;
    expect(perPeer).toBeGreaterThanOrEqual(15);
    expect(perPeer).toBeLessThanOrEqual(21);
  });
});

describe('batches', () => {
  test('what gathers in one turn goes out in one Prepare and one journal record', () => {
    const { cluster, client } = started();
    const before = prepares(cluster, 2).length;
    for (let slot = 0; slot < 50; slot++) client.post(cluster.node(0), `r${slot}`, slot);
    cluster.run(20);
    const sent = prepares(cluster, 2).slice(before);
    expect(sent.map((p) => p.entries.length)).toEqual([50]);
    expect(client.replies.filter((m) => m.type === 'reply').length).toBe(50);
  });

  test('are bounded in entries and bytes', () => {
    const { cluster, client } = started({ replica: { batchEntries: 20, batchBytes: 10_000, pipeline: 100 } });
    const before = prepares(cluster, 2).length;
    for (let slot = 0; slot < 50; slot++) client.post(cluster.node(0), 'small', slot);
    cluster.run(20);
    expect(prepares(cluster, 2).slice(before).map((p) => p.entries.length)).toEqual([20, 20, 10]);
    const middle = prepares(cluster, 2).length;
    for (let slot = 0; slot < 5; slot++) client.post(cluster.node(0), Buffer.alloc(6_000), slot);
    cluster.run(20);
    expect(prepares(cluster, 2).slice(middle).map((p) => p.entries.length)).toEqual([2, 2, 1]);
  });

  test('at most `pipeline` are under way; what comes meanwhile gathers for the next', () => {
    const { cluster, client } = started({ replica: { pipeline: 3 } });
    cluster.hold = (p) => p.message.type === 'prepare' || p.message.type === 'commit';
    const before = prepares(cluster, 2).length;
    for (let slot = 0; slot < 10; slot++) {
      client.post(cluster.node(0), `r${slot}`, slot);
      cluster.settle();
    }
    expect(prepares(cluster, 2).slice(before).map((p) => p.entries.length)).toEqual([1, 1, 1]);
    cluster.release();
    cluster.run(20);
    expect(prepares(cluster, 2).slice(before).map((p) => p.entries.length)).toEqual([1, 1, 1, 7]);
    cluster.untilConverged();
    expect(bodies(cluster, 2)).toEqual(Array.from({ length: 10 }, (_, i) => `r${i}`));
  });

  test('predetermined time rises with every entry, even when the clock goes back (row 19)', () => {
    const { cluster, client } = started();
    client.write('a');
    cluster.wallOffset -= 3_600_000_000;
    for (let slot = 0; slot < 3; slot++) client.post(cluster.node(0), 'b', slot);
    cluster.run(20);
    const times = cluster.node(0).application.executed.map((e) => e.time);
    expect(times.length).toBe(4);
    for (let i = 1; i < times.length; i++) expect(times[i]).toBeGreaterThan(defined(times[i - 1], 'time'));
    expect(times[3]).toBeLessThan(defined(times[0], 'time') + 1_000);
  });
});

describe('what the network does to messages', () => {
  test('a lost Prepare is noticed by the next message and caught up', () => {
    const { cluster, client } = started();
    cluster.drop = (p) => p.message.type === 'prepare' && p.to === 3;
    client.write('lost');
    cluster.heal();
    cluster.run(200);
    expect(bodies(cluster, 2)).toEqual(['lost']);
    expect(cluster.sentBy(memberId(3), 'getState').length).toBeGreaterThan(0);
  });

  test('Prepares in the wrong order', () => {
    const { cluster, client } = started();
    cluster.hold = (p) => p.message.type === 'prepare' && p.to === 3;
    for (let i = 0; i < 4; i++) client.write(`w${i}`);
    cluster.held.reverse();
    cluster.release();
    cluster.untilConverged();
    expect(bodies(cluster, 2)).toEqual(['w0', 'w1', 'w2', 'w3']);
  });

  test('everything twice, and the old again later', () => {
    const { cluster, client } = started();
    for (let i = 0; i < 5; i++) client.write(`w${i}`);
    const replay = cluster.sent.filter((p) => ['prepare', 'prepareOk', 'commit'].includes(p.message.type));
    for (const p of [...replay, ...replay.reverse()]) cluster.deliver(p);
    cluster.untilConverged();
    for (let i = 0; i < 3; i++) expect(bodies(cluster, i)).toEqual(['w0', 'w1', 'w2', 'w3', 'w4']);
    expect(cluster.node(0).replica.view).toBe(0);
  });

  test('messages of another epoch, of strangers, and of a former life count for nothing (row 1)', () => {
    const { cluster, client } = started({ members: 5 });
    const one = cluster.node(0);
    cluster.isolate(memberId(1));
    client.post(one, 'x');
    cluster.settle();
    const ok = { type: 'prepareOk', view: one.replica.view, op: one.replica.log.head, round: 0, leaseMs: 0, stamp: 0 } as const;
    const { epoch } = cluster.configuration;
    one.replica.step({ epoch: (epoch + 1) as typeof epoch, sender: memberId(2), incarnation: 1 }, ok);
    one.replica.step({ epoch, sender: memberId(9), incarnation: 1 }, ok);
    one.replica.step({ epoch, sender: memberId(3), incarnation: 0 }, ok);
    one.replica.step({ epoch, sender: memberId(4), incarnation: 0 }, ok);
    expect(one.replica.commit).toBe(1);
    one.replica.step({ epoch, sender: memberId(3), incarnation: 1 }, ok);
    one.replica.step({ epoch, sender: memberId(3), incarnation: 1 }, ok);
    expect(one.replica.commit).toBe(1);
    one.replica.step({ epoch, sender: memberId(4), incarnation: 1 }, ok);
    expect(one.replica.commit).toBe(2);
  });

  test('an acknowledgement from before a restart is forgotten', () => {
    const { cluster, client } = started();
    const one = cluster.node(0);
    one.slowJournal = true;
    cluster.isolate(memberId(1));
    client.post(one, 'x');
    cluster.settle();
    const ok = { type: 'prepareOk', view: one.replica.view, op: one.replica.log.head, round: 0, leaseMs: 0, stamp: 0 } as const;
    const { epoch } = cluster.configuration;
    one.replica.step({ epoch, sender: memberId(2), incarnation: 1 }, ok);
    expect(one.replica.status().peers[0]?.acked).toBe(2);
    one.replica.step({ epoch, sender: memberId(2), incarnation: 2 }, { type: 'getView', view: one.replica.view, nonce: Buffer.alloc(16) });
    expect(one.replica.status().peers[0]?.acked).toBe(0);
    one.replica.step({ epoch, sender: memberId(3), incarnation: 1 }, ok);
    expect(one.replica.commit).toBe(1);
  });
});

describe('clients', () => {
  test('a repeated request gets the stored reply and is executed once', () => {
    const { cluster, client } = started();
    const first = client.write('once');
    client.send(cluster.node(0), 0, 1, 'once');
    cluster.run(20);
    const replies = client.replies.filter((m) => m.type === 'reply');
    expect(replies).toEqual([first, first]);
    expect(bodies(cluster, 0)).toEqual(['once']);
  });

  test('a request that is repeated while it is under way goes into the log once', () => {
    const { cluster, client } = started();
    cluster.hold = EVERYTHING;
    for (let i = 0; i < 5; i++) {
      client.send(cluster.node(0), 0, 1, 'once');
      cluster.settle();
    }
    expect(cluster.node(0).replica.log.head).toBe(2);
    cluster.release();
    cluster.untilConverged();
    expect(client.replies.filter((m) => m.type === 'reply').length).toBe(1);
  });

  test('below the slot\'s last: dropped', () => {
    const { cluster, client } = started();
    client.write('one');
    client.write('two');
    const before = client.replies.length;
    client.send(cluster.node(0), 0, 1, 'one');
    cluster.run(20);
    expect(client.replies.length).toBe(before);
    expect(bodies(cluster, 0)).toEqual(['one', 'two']);
  });

  test('slots are independent of each other', () => {
    const { cluster, client } = started();
    for (const slot of [7, 3, 1023]) expect(client.write(`slot ${slot}`, slot)).toMatchObject({ slot, seq: 1 });
    cluster.untilConverged();
  });

  test('the reply goes where the request came from last', () => {
    const { cluster, client } = started();
    cluster.hold = EVERYTHING;
    client.send(cluster.node(0), 0, 1, 'x');
    cluster.settle();
    const again = new TestClient(cluster);
    again.session = client.session;
    again.send(cluster.node(0), 0, 1, 'x');
    cluster.release();
    cluster.run(20);
    expect(again.replyTo(0, 1)).toBeDefined();
    expect(client.replyTo(0, 1)).toBeUndefined();
  });

  test('a backup redirects and executes nothing', () => {
    const { cluster, client } = started();
    const two = cluster.node(1);
    client.send(two, 0, 1, 'x');
    client.sendRegister(two);
    client.read(two, 5, 'q');
    cluster.run(20);
    const redirect = { type: 'redirect', view: 0, configuration: cluster.configuration };
    expect(client.replies.slice(1)).toEqual([redirect, redirect, redirect]);
    expect(two.replica.log.head).toBe(1);
  });

  test('registering again with the same nonce gives the same session', () => {
    const { cluster, client } = started();
    client.sendRegister(cluster.node(0));
    cluster.run(20);
    const registered = client.replies.filter((m) => m.type === 'registered');
    expect(registered.length).toBe(2);
    expect(registered[1]).toEqual(registered[0]);
    expect(registered[0]).toMatchObject({ session: 1, slots: 1024, timeoutMs: 60_000, nonce: client.nonce });
  });

  test('an unknown session is told so, but by a primary that is certain to be one', () => {
    const { cluster, client } = started();
    client.session = sessionId(99);
    cluster.hold = (p) => p.message.type === 'prepareOk';
    client.send(cluster.node(0), 3, 4, 'x');
    cluster.run(100);
    expect(client.replies.length).toBe(1);
    cluster.release();
    cluster.run(100);
    expect(client.replies[1]).toMatchObject({ type: 'reject', code: 'noSession', session: 99, slot: 3, seq: 4 });
  });

  test('a slot out of range, sequence number 0, an operation that is too long', () => {
    const { cluster, client } = started();
    client.send(cluster.node(0), 1024, 1, 'x');
    client.send(cluster.node(0), 0, 0, 'x');
    client.send(cluster.node(0), 0, 1, Buffer.alloc((1 << 20) + (64 << 10) + 1));
    cluster.run(20);
    expect(client.replies.slice(1)).toMatchObject([{ code: 'invalid', slot: 1024 }, { code: 'invalid', seq: 0 }, { code: 'invalid', seq: 1 }]);
    expect(cluster.node(0).replica.log.head).toBe(1);
  });

  test('while a checkpoint is being written the log has a limit', () => {
    const { cluster, client } = started({ replica: { checkpointOps: 5, maxLogEntries: 20 } });
    cluster.node(0).slowCheckpoint = true;
    for (let slot = 0; slot < 40; slot++) client.post(cluster.node(0), 'x', slot);
    cluster.run(50);
    for (let slot = 40; slot < 45; slot++) client.post(cluster.node(0), 'x', slot);
    cluster.run(50);
    const busy = client.replies.filter((m) => m.type === 'reject');
    expect(busy.length).toBe(5);
    expect(busy[0]).toMatchObject({ code: 'busy', slot: 40, seq: 1 });
    const reject = busy[0];
    assert(reject?.type === 'reject', 'rejected');
    expect(reject.retryAfterMs).toBeGreaterThan(0);
    // Nothing was done: the same request is welcome later.
    cluster.node(0).slowCheckpoint = false;
    cluster.run(100);
    client.send(cluster.node(0), 40, 1, 'x');
    cluster.run(50);
    expect(client.replyTo(40, 1)).toBeDefined();
  });
});

describe('sessions', () => {
  test('one that is silent ends everywhere, through the log', () => {
    const { cluster } = started({ replica: { sessionTimeoutMs: 3_000 } });
    const lively = new TestClient(cluster).register();
    for (let i = 0; i < 10; i++) {
      lively.write(`${i}`);
      cluster.run(1_000);
    }
    cluster.untilConverged();
    for (const n of cluster.nodes) {
      expect(n.replica.clients.session(1)).toBeUndefined();
      expect(n.replica.clients.session(lively.session)).toBeDefined();
    }
  });

  test('that are alive outlive a clock that is set forward', () => {
    const cluster = new Cluster();
    const lively = new TestClient(cluster).register();
    const silent = new TestClient(cluster).register();
    for (let i = 0; i < 25; i++) {
      cluster.run(3_000);
      lively.write(`${i}`);
    }
    cluster.wallOffset += 600 * 1_000_000;
    cluster.run(3_000);
    const leader = cluster.untilServing();
    expect(leader.replica.clients.session(lively.session)).toBeDefined();
    expect(leader.replica.clients.session(silent.session)).toBeUndefined();
  });

  test('that are silent end also after a clock was wrong for a moment: the time in the log never goes back', () => {
    const cluster = new Cluster();
    cluster.wallOffset += 365 * 86_400 * 1_000_000;
    new TestClient(cluster).register();
    cluster.wallOffset -= 365 * 86_400 * 1_000_000;
    const silent = new TestClient(cluster).register();
    cluster.run(65_000);
    expect(cluster.untilServing().replica.clients.session(silent.session)).toBeUndefined();
  });

  test('whose end waits for a quorum is proposed once', () => {
    const { cluster } = started({ replica: { sessionTimeoutMs: 2_000 } });
    const leader = cluster.untilServing();
    const before = leader.replica.log.head;
    for (const n of cluster.nodes) if (n !== leader) n.slowJournal = true;
    cluster.run(30_000);
    expect([leader.replica.isPrimary, leader.replica.log.head]).toEqual([true, before + 1]);
    for (const n of cluster.nodes) n.slowJournal = false;
    cluster.run(2_000);
    expect(leader.replica.clients.size).toBe(0);
  });

  test('one too many makes the least recently active one go, everywhere alike', () => {
    const { cluster, client } = started({ replica: { maxSessions: 2 } });
    const second = new TestClient(cluster).register();
    client.write('active');
    const third = new TestClient(cluster).register();
    cluster.untilConverged();
    for (const n of cluster.nodes) expect([...n.replica.clients.sessions()].map((s) => s.id)).toEqual([client.session, third.session]);
    second.post(cluster.node(0), 'gone');
    cluster.run(100);
    expect(second.replies.at(-1)).toMatchObject({ type: 'reject', code: 'noSession' });
  });

  test('the application hears of their beginnings and ends', () => {
    const cluster = new Cluster({ replica: { sessionTimeoutMs: 1_000 } });
    const leader = cluster.untilServing();
    leader.replica.receive(1_000, { type: 'register', nonce: Buffer.alloc(16, 1), flags: SESSION_HOLDS_OPENS, name: 'm' });
    cluster.run(100);
    const keys = (): string[] => [...cluster.node(2).table.entries()].map(([k]) => k.toString('latin1'));
    expect(keys().some((k) => k.includes('started/'))).toBe(true);
    cluster.run(5_000);
    expect(keys().some((k) => k.includes('ended-1/'))).toBe(true);
    expect(cluster.node(2).replica.clients.size).toBe(0);
  });
});

describe('house-keeping', () => {
  test('is proposed by the primary alone, one step at a time', () => {
    const { cluster } = started();
    for (const n of cluster.nodes) n.application.housekeepingBody = Buffer.from('step');
    cluster.run(500);
    for (const n of cluster.nodes) expect(n.application.executed.map((e) => `${e.kind} ${e.body.toString()}`)).toEqual(['housekeeping step']);
  });
});
