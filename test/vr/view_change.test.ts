import { describe, expect, test } from 'vitest';
import { defined } from '../../lib/assert.ts';
import { memberId, view } from '../../lib/ids.ts';
import type { DoViewChange, StartView } from '../../vr/messages.ts';
import { Cluster, type Packet } from './cluster.ts';
import { bodies, started } from './settled_cluster.ts';
import { TestClient } from './test_client.ts';

const is = (...types: string[]) => (p: Packet): boolean => types.includes(p.message.type);
const votesOf = (cluster: Cluster, id: number): DoViewChange[] => cluster.sentBy(memberId(id), 'doViewChange').map((p) => p.message as DoViewChange);

describe('fail-over (VRR 4.2)', () => {
  test('the next in turn leads when the primary is gone, with everything that was acknowledged', () => {
    const { cluster, client } = started();
    for (let i = 0; i < 5; i++) client.write(`w${i}`);
    cluster.node(0).crash();
    const leader = cluster.untilServing(2_000);
    expect([leader.id, leader.replica.view]).toEqual([2, 1]);
    expect(client.write('after').op).toBe(7);
    cluster.untilConverged();
    expect(bodies(cluster, 2)).toEqual(['w0', 'w1', 'w2', 'w3', 'w4', 'after']);
  });

  test('whoever is in the new view tells its clients: they have asked it before there was one, and would ask again only when their answers are overdue', () => {
    const { cluster } = started();
    cluster.node(0).crash();
    cluster.untilServing(2_000);
    cluster.until(() => cluster.welcomes.length === 2, 'two who tell');
    expect(cluster.welcomes.map((w) => [w.node, w.view]).sort()).toEqual([[1, 1], [2, 1]]);
    // Who comes back has no clients yet, and tells nobody twice.
    cluster.node(0).start();
    cluster.untilConverged();
    expect(cluster.welcomes.map((w) => [w.node, w.view]).sort()).toEqual([[0, 1], [1, 1], [2, 1]]);
  });

  test('two that could not reach each other agree as soon as they can: they do not wait until they would say it again', () => {
    const { cluster } = started();
    cluster.drop = () => true;
    cluster.node(0).crash();
    // Each says it again after seconds only by now.
    cluster.run(5_000);
    cluster.heal();
    for (const i of [1, 2]) cluster.node(i).replica.onConnected();
    cluster.run(30);
    expect(cluster.leader?.id).toBe(2);
  });

  test('each member in turn', () => {
    const { cluster, client } = started({ members: 5 });
    for (let v = 0; v < 6; v++) {
      const leader = cluster.untilServing();
      client.write(`in view ${leader.replica.view}`);
      leader.crash();
      cluster.run(3_000);
      leader.start();
      cluster.untilConverged();
    }
    expect(bodies(cluster, 0).length).toBe(6);
    expect(cluster.untilServing().replica.view).toBeGreaterThanOrEqual(6);
  });

  test('what was prepared but not committed survives when a voter has it; the client gets its reply by asking again', () => {
    const { cluster, client } = started();
    const one = cluster.node(0);
    cluster.drop = (p) => p.from === 1 && p.to === 3;
    cluster.hold = is('prepareOk');
    const seq = client.post(one, 'prepared');
    cluster.settle();
    cluster.discard();
    one.crash();
    cluster.heal();
    cluster.release();
    const leader = cluster.untilServing();
    client.send(leader, 0, seq, 'prepared');
    cluster.until(() => client.replyTo(0, seq) !== undefined, 'the reply');
    cluster.untilConverged();
    expect(bodies(cluster, 1)).toEqual(['prepared']);
    expect(bodies(cluster, 2)).toEqual(['prepared']);
  });

  test('an entry that nobody else had is gone, and its client may use the slot (row 14)', () => {
    const { cluster, client } = started();
    const one = cluster.node(0);
    cluster.isolate(memberId(1));
    const seq = client.post(one, 'lost');
    cluster.settle();
    expect(one.replica.log.head).toBe(2);
    cluster.untilServing(3_000);
    cluster.until(() => cluster.leader?.id === 2, 'view 1');
    client.send(cluster.node(1), 0, seq, 'instead');
    cluster.until(() => client.replyTo(0, seq) !== undefined, 'a reply');
    cluster.heal();
    cluster.untilConverged();
    expect(bodies(cluster, 0)).toEqual(['instead']);
    expect(one.disk.entries.map((e) => e.body.toString()).slice(1)).toEqual(['instead']);
  });

  test('re-proposed entries keep their view and time; new ones come after (row 19)', () => {
    const { cluster, client } = started();
    client.write('old');
    cluster.wallOffset -= 60_000_000;
    cluster.node(0).crash();
    client.write('new');
    cluster.untilConverged();
    const [old, fresh] = cluster.node(1).application.executed;
    expect([old?.view, fresh?.view]).toEqual([0, 1]);
    expect(fresh?.time).toBeGreaterThan(defined(old, 'entry').time);
  });

  test('a backup that has executed everything still acknowledges the new view\'s log (row 13)', () => {
    const { cluster, client } = started();
    client.write('executed everywhere');
    cluster.run(100);
    cluster.node(0).crash();
    const leader = cluster.untilServing();
    cluster.run(100);
    expect(leader.replica.status().peers.find((p) => p.id === 3)?.acked).toBe(2);
  });
});

describe('lost messages (row 16)', () => {
  test.each(['startViewChange', 'doViewChange', 'startView'])('the first three %s are lost', (type) => {
    const { cluster, client } = started();
    let lost = 0;
    cluster.drop = (p) => p.message.type === type && ++lost <= 3;
    cluster.node(0).crash();
    client.write('after');
    expect(lost).toBeGreaterThan(2);
    cluster.untilConverged();
  });

  test('a StartView that never comes by itself is asked for', () => {
    const { cluster, client } = started();
    cluster.drop = (p) => p.message.type === 'startView' && (p.message as StartView).nonce.length === 0;
    cluster.node(0).crash();
    client.write('after');
    cluster.untilConverged();
    expect(cluster.sentBy(memberId(3), 'getView').length).toBeGreaterThan(0);
  });

  test('the view change lives through heavy loss', () => {
    for (let seed = 1; seed <= 20; seed++) {
      const cluster = new Cluster({ seed });
      const client = new TestClient(cluster).register();
      client.write('before');
      cluster.drop = () => cluster.random.chance(0.3);
      cluster.node(0).crash();
      const at = cluster.now;
      const leader = cluster.untilServing(30_000);
      expect(leader.replica.view, `seed ${seed}, ${cluster.now - at} ms`).toBeGreaterThan(0);
      cluster.heal();
      client.write('after');
      cluster.untilConverged();
    }
  });
});

describe('votes', () => {
  test('a DoViewChange never varies within a view', () => {
    const { cluster, client } = started();
    client.write('x');
    cluster.isolate(memberId(1));
    cluster.drop = (p) => p.from === 1 || p.to === 1 || p.message.type === 'startView';
    cluster.run(1_000);
    const byView = new Map<number, string>();
    for (const m of votesOf(cluster, 3)) {
      const text = JSON.stringify(m, (_, v: unknown) => (Buffer.isBuffer(v) ? v.toString('hex') : v));
      expect(byView.get(m.view) ?? text).toBe(text);
      byView.set(m.view, text);
    }
    expect(byView.size).toBeGreaterThan(0);
  });

  test('StartViewChange and DoViewChange leave when the superblock is durable, not before (row 1)', () => {
    const { cluster } = started();
    const three = cluster.node(2);
    cluster.node(0).crash();
    three.slowSuperblock = true;
    cluster.run(3_000);
    expect(cluster.sentBy(memberId(3), 'startViewChange')).toEqual([]);
    expect(votesOf(cluster, 3)).toEqual([]);
    expect(cluster.node(1).replica.logView).toBe(0);
    three.slowSuperblock = false;
    cluster.untilServing();
    expect(three.disk.superblock.promisedView).toBeGreaterThanOrEqual(defined(votesOf(cluster, 3).at(-1), 'vote').view);
  });

  test('a vote waits for its own promise, which the word before it was not', () => {
    const { cluster } = started();
    const three = cluster.node(2);
    cluster.hold = (p) => p.to === 3 && p.message.type === 'startViewChange';
    cluster.node(0).crash();
    cluster.until(() => cluster.sentBy(memberId(3), 'startViewChange').length > 0 && cluster.held.length > 0, 'both have said it');
    three.slowSuperblock = true;
    cluster.release();
    cluster.run(200);
    expect(three.replica.phase).toBe('view-change');
    expect(votesOf(cluster, 3)).toEqual([]);
    three.slowSuperblock = false;
    cluster.run(20);
    expect(votesOf(cluster, 3).length).toBeGreaterThan(0);
  });

  test('a vote waits for the log that it names', () => {
    const { cluster, client } = started();
    const three = cluster.node(2);
    client.write('x');
    three.slowJournal = true;
    client.write('not on the disk of 3');
    cluster.node(0).crash();
    cluster.run(2_000);
    expect(votesOf(cluster, 3)).toEqual([]);
    three.slowJournal = false;
    cluster.untilServing();
    expect(votesOf(cluster, 3)[0]?.op).toBe(3);
  });

  test('one that promised a view keeps it over a restart (row 1)', () => {
    const { cluster } = started();
    const three = cluster.node(2);
    cluster.isolate(memberId(1));
    cluster.drop = (p) => p.from === 1 || p.to === 1 || p.message.type === 'doViewChange';
    cluster.until(() => three.disk.superblock.promisedView > 0, 'a promise');
    const promised = three.disk.superblock.promisedView;
    cluster.drop = (p) => p.to === 3 || p.from === 3;
    three.restart();
    cluster.run(100);
    expect(three.replica.phase).toBe('view-change');
    expect(three.replica.view).toBe(promised);
    // Not a word of view 0 is acknowledged any more.
    cluster.heal();
    cluster.untilConverged();
    expect(three.replica.view).toBeGreaterThanOrEqual(promised);
  });

  test('amnesia: stale votes of a restarted replica lose nothing (row 1, Michael et al.)', () => {
    for (const durability of ['disk', 'memory'] as const) {
      const cluster = new Cluster({ durability });
      const client = new TestClient(cluster).register();
      cluster.untilConverged();
      const [one, two, three] = [cluster.node(0), cluster.node(1), cluster.node(2)];
      // Member 3 suspects; its words are delayed; it restarts.
      cluster.hold = (p) => ['startViewChange', 'doViewChange'].includes(p.message.type);
      cluster.drop = (p) => p.from === 1 && p.to >= 2;
      cluster.until(() => cluster.held.length > 0, 'a word of view 1');
      three.restart();
      cluster.heal();
      cluster.run(200);
      const old = cluster.held;
      cluster.held = [];
      cluster.hold = () => false;
      // X is committed by whoever can; then the old words come.
      cluster.until(() => cluster.leader !== undefined && cluster.nodes.filter((n) => n.replica.phase === 'normal').length === 3, 'a whole group');
      client.write('X');
      for (const p of old) cluster.deliver(p);
      cluster.run(500);
      cluster.untilServing().crash();
      client.write('Y');
      cluster.untilConverged();
      const alive = [one, two, three].filter((n) => n.up);
      for (const n of alive) expect(n.application.executed.map((e) => e.body.toString())).toEqual(['X', 'Y']);
    }
  });

  test('a new primary that hears of the election in parts waits for a quorum of distinct voters', () => {
    const { cluster } = started({ members: 5 });
    cluster.isolate(memberId(1));
    cluster.hold = is('doViewChange');
    cluster.until(() => cluster.held.length > 0, 'a vote');
    cluster.run(50);
    const two = cluster.node(1);
    const vote = defined(cluster.held.find((p) => p.from === 3 && p.to === 2), 'the vote of member 3');
    expect(two.replica.phase).toBe('view-change');
    for (let i = 0; i < 5; i++) cluster.deliver(vote);
    expect(two.replica.phase).toBe('view-change');
    cluster.deliver(defined(cluster.held.find((p) => p.from === 4 && p.to === 2), 'the vote of member 4'));
    expect(two.replica.phase).toBe('normal');
  });
});

describe('bodies that did not fit a message (row 4)', () => {
  test('a new primary fetches them by hash before it starts the view', () => {
    const { cluster, client } = started();
    // Member 3 alone has what members 1 and 3 acknowledged; member 2 leads next.
    cluster.drop = (p) => p.to === 2 && p.from === 1 && p.message.type === 'prepare' || p.message.type === 'newState';
    for (let i = 0; i < 6; i++) client.write(Buffer.alloc(100_000, 0x61 + i));
    cluster.node(0).crash();
    cluster.heal();
    const leader = cluster.untilServing();
    expect(leader.id).toBe(2);
    expect(Number(leader.event('elected')?.['missing'])).toBeGreaterThan(0);
    expect(cluster.sentBy(memberId(2), 'getState').some((p) => p.message.type === 'getState' && p.message.repairHead !== null)).toBe(true);
    client.write('after');
    cluster.untilConverged();
    expect(bodies(cluster, 1).map((b) => b.slice(0, 1)).join('')).toBe('abcdefa');
  });

  test('a backup gathers them before it is normal; until then its log and log-view stay (row 2)', () => {
    const { cluster, client } = started();
    const three = cluster.node(2);
    cluster.isolate(memberId(3));
    for (let i = 0; i < 6; i++) client.write(Buffer.alloc(100_000, 0x61 + i));
    cluster.node(0).replica.viewChange.leaveFor(view(1));
    cluster.until(() => cluster.leader?.id === 2, 'view 1');
    cluster.heal();
    // Commit is known to member 2 alone: the claim's window lies above what member 3 has.
    cluster.hold = (p) => p.to === 3 && p.message.type === 'newState';
    cluster.until(() => three.replica.catchUp.gathering === 1, 'member 3 gathering');
    cluster.run(100);
    expect([three.replica.phase, three.replica.logView, three.replica.log.head, three.replica.commit]).toEqual(['view-change', 0, 1, 1]);
    expect(cluster.sentBy(memberId(3), 'prepareOk').filter((p) => p.message.type === 'prepareOk' && p.message.view === 1)).toEqual([]);
    cluster.release();
    cluster.untilConverged();
    expect(three.disk.logView).toBe(1);
  });

  test('a gather that was lost with its view does not make a short log win (row 2)', () => {
    const { cluster, client } = started();
    const three = cluster.node(2);
    cluster.isolate(memberId(3));
    for (let i = 0; i < 4; i++) client.write(`w${i}`);
    cluster.node(0).replica.viewChange.leaveFor(view(1));
    cluster.until(() => cluster.leader?.id === 2, 'view 1');
    client.write('in view 1');
    cluster.heal();
    cluster.drop = (p) => p.to === 3 && p.message.type === 'newState';
    cluster.until(() => three.replica.catchUp.gathering === 1, 'member 3 gathering');
    cluster.node(1).crash();
    cluster.heal();
    client.write('after');
    cluster.untilConverged();
    expect(bodies(cluster, 2)).toEqual(['w0', 'w1', 'w2', 'w3', 'in view 1', 'after']);
  });
});

describe('who does not disturb, and who has to go (row 22)', () => {
  test('a backup that alone cannot hear the primary changes nothing', () => {
    const { cluster, client } = started();
    cluster.drop = (p) => p.from === 1 && p.to === 3;
    for (let i = 0; i < 10; i++) {
      client.write(`w${i}`);
      cluster.run(500);
    }
    expect(cluster.node(2).event('suspects')).toBeDefined();
    for (const n of cluster.nodes) expect([n.replica.view, n.replica.phase]).toEqual([0, 'normal']);
    cluster.heal();
    cluster.untilConverged();
    expect(cluster.node(0).replica.view).toBe(0);
  });

  test('a replica that was cut off for long comes back without a view change', () => {
    const { cluster, client } = started();
    cluster.isolate(memberId(3));
    cluster.run(30_000);
    client.write('meanwhile');
    cluster.heal();
    cluster.untilConverged();
    for (const n of cluster.nodes) expect(n.replica.view).toBe(0);
  });

  test('a primary that sends but does not hear abdicates', () => {
    const { cluster, client } = started();
    cluster.drop = (p) => p.to === 1;
    cluster.until(() => cluster.leader?.id === 2, 'view 1', 5_000);
    expect(cluster.node(0).event('abdicated')).toBeDefined();
    client.write('after');
    cluster.heal();
    cluster.untilConverged();
  });

  test('a primary without a quorum answers nothing, not even reads', () => {
    const { cluster, client } = started();
    cluster.isolate(memberId(1));
    const one = cluster.node(0);
    // Its lease has run out.
    cluster.run(250);
    const seq = client.post(one, 'x');
    client.read(one, 9, 'q');
    cluster.run(5_000);
    expect(client.replyTo(0, seq)).toBeUndefined();
    expect(client.replies.filter((m) => m.type === 'readReply')).toEqual([]);
    expect(one.replica.isPrimary).toBe(false);
  });

  test('an inflated view is followed once, and no further', () => {
    const { cluster, client } = started();
    const three = cluster.node(2);
    three.crash();
    three.disk.superblock = { ...three.disk.superblock, view: view(40), promisedView: view(40) };
    three.start();
    client.write('after');
    cluster.untilConverged();
    const reached = cluster.untilServing().replica.view;
    expect(reached).toBeGreaterThanOrEqual(40);
    expect(reached).toBeLessThan(45);
    cluster.run(5_000);
    expect(cluster.untilServing().replica.view).toBe(reached);
  });

  test('a primary that restarts never goes on in its view (row 7)', () => {
    const { cluster, client } = started();
    client.write('before');
    cluster.isolate(memberId(1));
    client.post(cluster.node(0), 'only on its disk', 5);
    cluster.run(20);
    cluster.heal();
    cluster.node(0).restart();
    client.write('after');
    cluster.untilConverged();
    expect(cluster.node(0).replica.view).toBeGreaterThan(0);
    const viewstamps = cluster.node(1).application.executed.map((e) => `${e.view}.${e.op}`);
    expect(new Set(viewstamps).size).toBe(viewstamps.length);
  });
});

describe('durability', () => {
  test('a StartView leaves when the new log is durable', () => {
    const { cluster } = started();
    const two = cluster.node(1);
    cluster.node(0).replica.viewChange.leaveFor(view(1));
    two.slowJournal = true;
    cluster.until(() => two.replica.isPrimary, 'an election');
    cluster.run(100);
    expect(cluster.sentBy(memberId(2), 'startView')).toEqual([]);
    expect(cluster.sentBy(memberId(2), 'prepare')).toEqual([]);
    two.slowJournal = false;
    cluster.run(20);
    expect(cluster.sentBy(memberId(2), 'startView').length).toBeGreaterThan(0);
    expect(two.disk.logView).toBe(1);
  });

  test('a backup acknowledges nothing of a view whose log its disk does not have (row 5)', () => {
    const { cluster, client } = started();
    client.write('x');
    const three = cluster.node(2);
    three.slowJournal = true;
    cluster.node(0).replica.viewChange.leaveFor(view(1));
    cluster.until(() => three.replica.phase === 'normal' && three.replica.view === 1, 'member 3 in view 1');
    cluster.run(200);
    const acks = cluster.sentBy(memberId(3), 'prepareOk').filter((p) => p.message.type === 'prepareOk' && p.message.view === 1 && p.message.op > 0);
    expect(acks).toEqual([]);
    three.slowJournal = false;
    cluster.untilConverged();
  });

  test('a power loss of the whole group loses nothing acknowledged', () => {
    const { cluster, client } = started();
    for (let i = 0; i < 20; i++) client.write(`w${i}`);
    for (let round = 0; round < 3; round++) {
      for (const n of cluster.nodes) n.crash();
      for (const n of cluster.nodes) n.start();
      cluster.untilServing();
      client.write(`round ${round}`);
    }
    cluster.untilConverged();
    expect(cluster.node(0).replica.executed).toBe(24);
  });

  test('so does one whose disks were a little behind', () => {
    const { cluster, client } = started();
    client.write('everywhere');
    cluster.node(2).slowJournal = true;
    client.write('on two disks');
    for (const n of cluster.nodes) n.crash();
    for (const n of cluster.nodes) n.start();
    client.write('after');
    cluster.untilConverged();
    expect(bodies(cluster, 2)).toEqual(['everywhere', 'on two disks', 'after']);
  });
});
