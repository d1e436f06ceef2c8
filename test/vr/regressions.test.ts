/** Faults that a review of the core or a simulator's seed has found, each as the shortest story that shows it. */
import { describe, expect, test } from 'vitest';
import { defined } from '../../lib/assert.ts';
import { epoch, memberId, viewOf } from '../../lib/ids.ts';
import { members, started, writeAll } from './administrator.ts';
import { Cluster, type Packet } from './cluster.ts';
import { testMember } from './group.ts';
import { bodies } from './settled_cluster.ts';
import { TestClient } from './test_client.ts';

const to = (id: number, ...types: string[]) => (p: Packet): boolean => p.to === id && (types.length === 0 || types.includes(p.message.type));

/** Member 3 misses so many operations that the log it lacks is gone at member 1, and at member 2 too unless `keepLogAt2`. */
function farBehind(options: { readonly ops?: number; readonly keepLogAt2?: boolean } = {}): { cluster: Cluster; client: TestClient } {
  const cluster = new Cluster({ replica: { checkpointOps: 5, retainEntries: 0 } });
  const client = new TestClient(cluster).register();
  cluster.untilConverged();
  cluster.isolate(memberId(3));
  cluster.node(1).slowCheckpoint = options.keepLogAt2 ?? false;
  for (let i = 0; i < (options.ops ?? 30); i++) client.write(`w${i}`);
  return { cluster, client };
}

/** Member 1 hands view 1 over to member 2. */
function toViewOne(cluster: Cluster): void {
  cluster.node(0).replica.viewChange.leaveFor(1);
  cluster.until(() => cluster.leader?.id === 2, 'view 1');
}

describe('what comes late', () => {
  test('a log that was being collected below a checkpoint is not installed behind it', () => {
    const { cluster } = farBehind({ keepLogAt2: true });
    const three = cluster.node(2);
    three.slowFetch = true;
    cluster.heal();
    cluster.until(() => three.replica.handOver.fetching, 'a transfer from member 1');
    // Member 2 leads view 1 and still has the log from the start.
    cluster.hold = to(3, 'newState');
    toViewOne(cluster);
    cluster.run(300);
    // The checkpoint comes first, then the log.
    three.slowFetch = false;
    cluster.until(() => three.event('state-installed') !== undefined, 'the checkpoint');
    cluster.release();
    cluster.untilConverged();
  });

  test('a StartView of before a checkpoint transfer does not stop the replica after it', () => {
    const { cluster, client } = farBehind({ ops: 4 });
    const three = cluster.node(2);
    toViewOne(cluster);
    cluster.heal();
    cluster.hold = to(3, 'startView');
    cluster.until(() => cluster.held.length > 0, 'a StartView on its way');
    const early = defined(cluster.held[0], 'StartView');
    cluster.isolate(memberId(3));
    cluster.release();
    for (let i = 0; i < 30; i++) client.write(`more${i}`);
    // The checkpoint is installed, the log behind it is not there yet.
    cluster.drop = to(3, 'startView');
    cluster.deliver(early);
    cluster.until(() => three.event('state-installed') !== undefined, 'the checkpoint');
    expect(three.replica.phase).toBe('view-change');
    cluster.deliver(early);
    cluster.heal();
    cluster.untilConverged();
  });

  test('a restart with a state of a later view does not speak for the log of the view before', () => {
    const cluster = new Cluster({ members: 5, replica: { checkpointOps: 5 } });
    const client = new TestClient(cluster).register();
    cluster.untilConverged();
    const [one, two, five] = [cluster.node(0), cluster.node(1), cluster.node(4)];
    // Members 2, 3 and 4 begin view 1 without member 1; member 5 follows them without having voted.
    const majority = (id: number): boolean => id >= 2 && id <= 4;
    const apart = (p: Packet): boolean => (p.from === 1 && majority(p.to)) || (p.to === 1 && majority(p.from)) || (p.message.type === 'startViewChange' && (p.to === 5 || p.from === 5));
    cluster.drop = apart;
    five.slowJournal = true;
    cluster.until(() => two.replica.normal.serving, 'view 1');
    for (let i = 0; i < 6; i++) client.post(two, `w${i}`, i);
    cluster.until(() => (five.disk.snapshots.at(-1)?.id.op ?? 0) >= 5, 'a checkpoint of view 1');
    expect([five.disk.logView, five.disk.superblock.promisedView]).toEqual([0, 0]);
    cluster.drop = (p) => apart(p) || (majority(p.from) && p.to === 5);
    five.restart();
    expect(one.replica.isPrimary).toBe(true);
    client.post(one, 'never committed', 9);
    cluster.run(300);
    cluster.heal();
    cluster.untilConverged();
  });
});

describe('a state of a later view than the log\'s', () => {
  /** Member 1, which leads, has 40 entries that nobody has heard of, and is stopped; members 2, 3 and 4 go on in the next view, without member 5. */
  function deposed({ cluster, client }: { readonly cluster: Cluster; readonly client: TestClient }): void {
    const [one, two] = [cluster.node(0), cluster.node(1)];
    cluster.drop = (p) => p.from === 1 || p.to === 5 || p.from === 5;
    for (let i = 0; i < 40; i++) client.post(one, `never committed ${i}`, i + 1);
    cluster.settle();
    one.paused = true;
    cluster.until(() => two.replica.normal.serving, 'the next view');
    for (let i = 0; i < 30; i++) client.write(`w${i}`);
  }
  /** Of those that speak for a log. */
  const acknowledgements = (cluster: Cluster, id: number): Packet[] => cluster.sentBy(memberId(id), 'prepareOk').filter((p) => p.message.type === 'prepareOk' && p.message.op > 0);

  test('after a restart: nothing of the older view is acknowledged or taken', () => {
    const cluster = new Cluster({ members: 5, replica: { checkpointOps: 5 } });
    const client = new TestClient(cluster).register();
    cluster.untilConverged();
    const [one, five] = [cluster.node(0), cluster.node(4)];
    deposed({ cluster, client });
    cluster.drop = (p) => p.to === 5 && p.message.type === 'startView' && five.event('state-installed') !== undefined;
    cluster.until(() => five.event('state-installed') !== undefined, 'a checkpoint of view 1');
    expect([five.disk.logView, five.disk.base, five.replica.headView]).toEqual([0, five.replica.executed, 1]);
    // It hears only member 1, which still believes that it leads view 0.
    const before = acknowledgements(cluster, 5).length;
    cluster.drop = (p) => p.from + p.to !== 6;
    five.restart();
    one.paused = false;
    cluster.run(300);
    expect(one.replica).toMatchObject({ isPrimary: true, view: 0 });
    expect(five.replica).toMatchObject({ phase: 'view-change', view: 1, logView: 0 });
    expect(acknowledgements(cluster, 5).length).toBe(before);
    cluster.heal();
    cluster.untilConverged();
  });

  // Seed 4914: "two committed entries".
  test('in a new epoch: whoever led its first view is not followed', () => {
    const { cluster, client, admin } = started({ members: 5 });
    const [one, five] = [cluster.node(0), cluster.node(4)];
    cluster.untilConverged();
    cluster.join(6);
    cluster.isolate(memberId(5));
    admin.change(members(1, 2, 3, 4, 5, testMember(6, 'observer')));
    deposed({ cluster, client });
    five.slowSuperblock = true;
    cluster.heal();
    cluster.until(() => five.event('state-installed') !== undefined, 'a checkpoint of the second view');
    expect(five.replica.phase).toBe('transitioning');
    const before = acknowledgements(cluster, 5).length;
    cluster.drop = (p) => p.from + p.to !== 6;
    one.paused = false;
    five.slowSuperblock = false;
    cluster.run(300);
    expect(one.replica).toMatchObject({ isPrimary: true, view: viewOf(epoch(1), 0) });
    expect(five.replica).toMatchObject({ phase: 'view-change', view: viewOf(epoch(1), 1), logView: viewOf(epoch(1), 0) });
    expect(acknowledgements(cluster, 5).length).toBe(before);
    cluster.heal();
    cluster.untilConverged();
  });
});

describe('input of clients', () => {
  test('a name that is too long is refused, whatever its bytes become in UTF-8', () => {
    const cluster = new Cluster();
    const leader = cluster.untilServing();
    const client = new TestClient(cluster);
    client.sendRegister(leader, '\uFFFD'.repeat(60_000));
    cluster.run(20);
    expect(client.replies).toMatchObject([{ type: 'reject', code: 'invalid' }]);
  });
});

describe('what must not go on for ever', () => {
  test('a replica that takes long to gather the log does not drag the group through views', () => {
    const { cluster, client } = farBehind({ ops: 4 });
    const three = cluster.node(2);
    toViewOne(cluster);
    client.write('in view 1');
    cluster.heal();
    cluster.hold = to(3, 'newState');
    cluster.run(10_000);
    expect(three.replica.logView).toBe(0);
    expect(cluster.node(1).replica.view).toBe(1);
    cluster.release();
    cluster.untilConverged();
    expect(cluster.node(1).replica.view).toBe(1);
  });

  test('an abdicated primary that hears nobody does not end the view that follows its own', () => {
    const cluster = new Cluster();
    new TestClient(cluster).register();
    cluster.untilConverged();
    cluster.drop = to(1);
    cluster.until(() => cluster.leader?.id === 2, 'view 1');
    cluster.run(10_000);
    expect(cluster.leader?.replica.view).toBe(1);
    cluster.heal();
    cluster.untilConverged();
    expect(cluster.leader?.replica.view).toBe(1);
  });

  test('two of five that cannot hear the primary do not answer each other without end', () => {
    const cluster = new Cluster({ members: 5 });
    const client = new TestClient(cluster).register();
    cluster.untilConverged();
    cluster.drop = (p) => p.from === 1 && p.to >= 4;
    // settle() fails when messages go round without end.
    cluster.run(5_000);
    // Whoever suspects first; the other may merely join it.
    expect(cluster.node(3).event('suspects') ?? cluster.node(4).event('suspects')).toBeDefined();
    expect(cluster.node(0).replica.view).toBe(0);
    expect(client.write('still').result.toString()).toBe('2:still');
  });

  test('a recovery above the view of a busy group makes it pass that view (row 1)', () => {
    const cluster = new Cluster({ durability: 'memory' });
    const client = new TestClient(cluster).register();
    const [one, two, three] = [cluster.node(0), cluster.node(1), cluster.node(2)];
    cluster.untilConverged();
    // Member 3 alone suspects the primary, says so durably, and restarts.
    cluster.drop = (p) => p.from === 1 && p.to === 3;
    cluster.until(() => three.disk.superblock.view > 0, 'a suspicion');
    three.crash();
    cluster.heal();
    three.start();
    // Member 2's superblock is durable only after the next Prepare has come.
    for (let i = 0; i < 500 && three.replica.phase === 'recovering'; i++) {
      two.slowSuperblock = true;
      cluster.tick();
      if (one.replica.normal.serving) client.post(one, 'busy');
      cluster.settle();
      two.slowSuperblock = false;
      cluster.settle();
    }
    expect(three.replica.phase).toBe('normal');
    cluster.untilConverged();
  });

  test('a transfer that failed while the log came from elsewhere is begun again', () => {
    const { cluster, client } = farBehind({ keepLogAt2: true });
    const three = cluster.node(2);
    three.slowFetch = true;
    cluster.heal();
    cluster.until(() => three.replica.handOver.fetching, 'a transfer from member 1');
    toViewOne(cluster);
    cluster.run(500);
    three.failFetch = 'torn';
    three.slowFetch = false;
    cluster.until(() => three.event('state-transfer-failed') !== undefined, 'a failure');
    cluster.run(1_000);
    three.failFetch = false;
    cluster.node(1).slowCheckpoint = false;
    client.write('after');
    cluster.untilConverged();
  });

  test('one live backup whose disk needs a second is enough for a view to last', () => {
    const cluster = new Cluster();
    const client = new TestClient(cluster).register();
    cluster.untilConverged();
    cluster.node(0).crash();
    cluster.node(1).journalMs = 1_000;
    cluster.untilServing(60_000);
    cluster.run(5_000);
    const settled = cluster.untilServing().replica.view;
    client.write('slow');
    cluster.run(10_000);
    expect(cluster.leader?.replica.view).toBe(settled);
  });

  test('a primary whose disk needs a second to keep its new log is given that time', () => {
    const cluster = new Cluster();
    const client = new TestClient(cluster).register();
    cluster.untilConverged();
    cluster.node(0).crash();
    cluster.node(1).journalMs = 1_000;
    cluster.node(2).journalMs = 1_000;
    cluster.untilServing(60_000);
    cluster.run(5_000);
    const settled = cluster.untilServing().replica.view;
    client.write('slow');
    cluster.run(10_000);
    expect(cluster.leader?.replica.view).toBe(settled);
  });

  test('sessions outlive an outage of the group that is longer than their time-out', () => {
    const cluster = new Cluster({ replica: { sessionTimeoutMs: 5_000 } });
    const client = new TestClient(cluster).register();
    client.write('before');
    cluster.untilConverged();
    for (const n of cluster.nodes) n.crash();
    cluster.run(20_000);
    for (const n of cluster.nodes) n.start();
    cluster.untilServing();
    cluster.run(2_000);
    expect(client.write('after').result.toString()).toContain('after');
    // Whoever stays silent for a whole time-out of the new primary is gone.
    cluster.run(8_000);
    expect(cluster.untilServing().replica.clients.size).toBe(0);
  });

  test('a checkpoint of a later view does not speak for the log of an older one', () => {
    const cluster = new Cluster({ members: 5, replica: { checkpointOps: 5, retainEntries: 0 } });
    const client = new TestClient(cluster).register();
    cluster.untilConverged();
    const five = cluster.node(4);
    cluster.isolate(memberId(5));
    for (let i = 0; i < 30; i++) client.write(`w${i}`);
    five.failFetch = 'torn';
    cluster.heal();
    cluster.until(() => five.event('state-transfer-failed') !== undefined, 'a failed transfer');
    // Members 2, 3 and 4 go on without member 1; all that member 5 hears of them is what checkpoints they have.
    const majority = (id: number): boolean => id >= 2 && id <= 4;
    cluster.drop = (p) => p.message.type === 'newState' || (majority(p.from) && p.to === 5 && p.message.type !== 'checkpointNotice') || (p.from === 1 && majority(p.to)) || (p.to === 1 && majority(p.from));
    cluster.until(() => cluster.node(1).replica.normal.serving, 'view 1');
    for (let i = 0; i < 12; i++) client.post(cluster.node(1), `later${i}`, 100 + i);
    cluster.until(() => cluster.node(1).replica.persistence.superblock.checkpoint.op > 31, 'a checkpoint of view 1');
    cluster.tick();
    five.failFetch = false;
    cluster.run(400);
    cluster.heal();
    cluster.untilConverged();
  });

  test('a recovering replica may be given an older state than the one that it had just installed', () => {
    const cluster = new Cluster({ members: 5, durability: 'memory', replica: { checkpointOps: 5, retainEntries: 0 } });
    const client = new TestClient(cluster).register();
    cluster.untilConverged();
    const [one, two, five] = [cluster.node(0), cluster.node(1), cluster.node(4)];
    const write = (n: number): void => { for (let i = 0; i < n; i++) client.write(`w${i}`); };
    write(8);
    cluster.run(100);
    // Member 2 takes no further checkpoints, and keeps its log.
    two.slowCheckpoint = true;
    write(15);
    five.crash();
    write(20);
    // Checkpoints it is given, and nothing that follows them.
    cluster.hold = (p) => p.to === 5 && p.message.type === 'newState' && p.message.kind === 'entries';
    // Nor of the newer ones of members 3 and 4: it would take one of them instead. And nobody keeps the log for it.
    cluster.drop = (p) => (p.to === 5 && p.message.type === 'checkpointNotice') || p.message.type === 'keepLog';
    five.start();
    cluster.until(() => five.event('state-installed') !== undefined, 'a first transfer');
    five.failFetch = 'torn';
    write(20);
    cluster.until(() => five.event('state-transfer-failed') !== undefined, 'a second transfer that breaks off');
    one.crash();
    cluster.until(() => two.replica.isPrimary && two.replica.normal.serving, 'member 2 as primary');
    expect(two.replica.persistence.superblock.checkpoint.op).toBeLessThan(five.replica.log.base);
    const { checkpoint } = five.replica.persistence.superblock;
    five.failFetch = false;
    cluster.until(() => five.replica.execution.ready && five.replica.executed < checkpoint.op, 'the older state');
    // A witness might count on what it tells of: it does not hold that any more.
    const from = cluster.sent.length;
    cluster.run(5000);
    expect(cluster.sent.slice(from).filter((p) => p.from === 5 && p.message.type === 'checkpointNotice')).toEqual([]);
    cluster.release();
    cluster.heal();
    two.slowCheckpoint = false;
    one.start();
    cluster.untilConverged();
  });

  // A second transfer was waited for without end, though the log that it was to be spared was there.
  test('a voter whose only donor is gone before it has given anything goes on from the log of the witness', () => {
    const { cluster, client } = started({ members: 3, witnesses: 1 });
    const [one, two] = [cluster.node(0), cluster.node(1)];
    cluster.untilConverged();
    cluster.isolate(two.id);
    for (let i = 0; i < 30; i++) client.write(`w${i}`);
    two.slowFetch = true;
    cluster.drop = (p) => p.to === two.id && p.message.type === 'newState' && p.message.kind === 'entries';
    cluster.until(() => two.event('state-transfer') !== undefined, 'a transfer');
    one.crash();
    two.slowFetch = false;
    cluster.heal();
    client.write('with member 2 and the witness');
    expect(two.event('state-installed')).toBeUndefined();
    expect(two.application.executed.at(-2)?.body.toString()).toBe('w29');
  });

  // Seed 8405: it had begun to replace its state, which was the last one, by that of a member that was then gone.
  test('and none in a group with a witness gives its state away for one that may break off: it takes the log first', () => {
    const { cluster, client } = started({ members: 3, witnesses: 1 });
    const [one, two] = [cluster.node(0), cluster.node(1)];
    cluster.untilConverged();
    cluster.isolate(two.id);
    for (let i = 0; i < 30; i++) client.write(`w${i}`);
    two.failFetch = 'torn';
    cluster.heal();
    cluster.until(() => two.replica.executed > 20, 'the log');
    one.crash();
    client.write('with member 2 and the witness');
    expect(two.event('state-transfer')).toBeUndefined();
    expect(bodies(cluster, 1).slice(0, 30)).toEqual(Array.from({ length: 30 }, (_, i) => `w${i}`));
  });

  test('but takes the state when nobody gives the log', () => {
    const { cluster, client } = started({ members: 3, witnesses: 1 });
    const two = cluster.node(1);
    cluster.untilConverged();
    cluster.isolate(two.id);
    for (let i = 0; i < 30; i++) client.write(`w${i}`);
    const given = (p: Packet): boolean => p.to === two.id && p.message.type === 'newState' && p.message.kind === 'entries';
    cluster.drop = (p) => given(p) && two.event('log-not-given') === undefined;
    cluster.until(() => two.event('state-installed') !== undefined, 'the state');
    expect(two.event('log-not-given')).toBeDefined();
    cluster.untilConverged();
  });

  test('one whose donor has given a part has no state until another gives all of it', () => {
    const cluster = new Cluster({ replica: { checkpointOps: 5, retainEntries: 0 } });
    const client = new TestClient(cluster).register();
    cluster.untilConverged();
    const three = cluster.node(2);
    cluster.isolate(three.id);
    for (let i = 0; i < 30; i++) client.write(`w${i}`);
    three.failFetch = 'torn';
    cluster.heal();
    cluster.until(() => three.event('state-transfer-failed') !== undefined, 'a transfer that breaks off');
    cluster.run(5000);
    expect([three.replica.executed, three.replica.execution.ready]).toEqual([1, false]);
    three.failFetch = false;
    cluster.untilConverged();
    expect(three.event('state-installed')).toBeDefined();
  });

  test('a checkpoint that only a member had which is gone is not asked for for ever, when others offer an older one', () => {
    const { cluster, client } = started({ members: 5 });
    const [one, five] = [cluster.node(0), cluster.node(4)];
    cluster.untilConverged();
    cluster.isolate(five.id);
    for (let i = 0; i < 7; i++) client.write(`w${i}`);
    cluster.run(100);
    // Members 2, 3 and 4 take no further checkpoints, and keep their logs.
    for (const n of cluster.nodes) n.slowCheckpoint = n !== one;
    for (let i = 0; i < 20; i++) client.write(`on${i}`);
    five.failFetch = 'torn';
    cluster.heal();
    cluster.until(() => five.event('state-transfer-failed') !== undefined, 'a transfer that breaks off');
    cluster.run(2500);
    one.crash();
    five.failFetch = false;
    cluster.untilConverged();
    expect(five.event('state-installed')).toMatchObject({ op: 5 });
  });

  // Seed 14253: it told of the checkpoint before, which it had no more and nobody could be given.
  // Seed 10064: it took what came first, and lost what it had acknowledged.
  test('who is to hold the start of an epoch takes no state of before its own log', () => {
    const { cluster, client, admin } = started();
    const [three, four] = [cluster.node(2), cluster.join(4)];
    admin.change(members(1, 2, 3, testMember(4, 'observer')));
    writeAll(client, 'all', 7);
    cluster.untilConverged();
    // It takes no further checkpoint, and tells of an old one.
    four.slowCheckpoint = true;
    writeAll(client, 'still all', 20);
    cluster.untilConverged();
    cluster.isolate(three.id);
    writeAll(client, 'without member 3', 20);
    cluster.join(5);
    admin.change(members(1, 2, 3, testMember(4, 'observer'), testMember(5, 'observer')));
    writeAll(client, 'in the next epoch', 20);
    three.failFetch = 'torn';
    cluster.heal();
    cluster.until(() => three.event('state-transfer-failed') !== undefined, 'a transfer that breaks off');
    const { head, base } = three.replica.log;
    expect([three.replica.phase, base > 10]).toEqual(['transitioning', true]);
    cluster.drop = (p) => [p.from, p.to].includes(three.id) && (![p.from, p.to].includes(four.id) || p.message.type === 'newState');
    // What the others told of their checkpoints counts for a while.
    cluster.run(5000);
    three.failFetch = false;
    cluster.until(() => three.event('checkpoint-too-old') !== undefined, 'the old checkpoint');
    cluster.run(3000);
    expect(three.replica.log).toMatchObject({ head, base });
    cluster.heal();
    cluster.untilConverged();
  });

  // Seed 11640: it told of the checkpoint that it had lost, and a member that needed one asked for that and for no other.
  test('who has lost its records tells of the state that it was given, not of the one that it had', () => {
    const cluster = new Cluster({ replica: { checkpointOps: 5, retainEntries: 0 } });
    const client = new TestClient(cluster).register();
    const write = (n: number): void => { for (let i = 0; i < n; i++) client.write(`w${i}`); };
    const three = cluster.node(2);
    write(8);
    cluster.run(100);
    for (const n of cluster.nodes) n.slowCheckpoint = n !== three;
    write(15);
    cluster.run(100);
    const lost = three.replica.persistence.superblock.checkpoint;
    expect(lost.op).toBeGreaterThan(10);
    three.crash();
    three.disk.transferring = true;
    three.start();
    three.slowCheckpoint = true;
    cluster.untilConverged();
    expect(three.replica.executed).toBeGreaterThan(lost.op);
    const from = cluster.sent.length;
    cluster.run(2500);
    const told = cluster.sent.slice(from).flatMap((p) => (p.from === three.id && p.message.type === 'checkpointNotice' ? [p.message.checkpoint.op] : []));
    expect([...new Set(told)]).toEqual([5]);
  });

  // Seed 9558: it had begun a view that one had never heard of; the third, which led it, was gone.
  test('a replica that is normal in a later view takes a primary of before along', () => {
    const { cluster, client } = started({ replica: { viewChangeMs: 1000 } });
    const [one, two, three] = [cluster.node(0), cluster.node(1), cluster.node(2)];
    client.write('in view 0');
    one.paused = true;
    cluster.until(() => two.replica.isPrimary && three.replica.phase === 'normal' && three.replica.view === 1, 'view 1');
    two.crash();
    one.paused = false;
    cluster.until(() => one.replica.view > 1 && cluster.leader !== undefined, 'a view of both');
    client.write('with members 1 and 3');
  });

  test('a checkpoint that a process did not live to name is the one that it tells of when it is back', () => {
    const { cluster, client } = started();
    const two = cluster.node(1);
    cluster.untilConverged();
    two.slowSuperblock = true;
    for (let i = 0; i < 4; i++) client.write(`w${i}`);
    cluster.until(() => two.event('checkpoint')?.op === 5, 'its checkpoint');
    two.crash();
    expect(two.disk.superblock.checkpoint.op).toBe(0);
    two.start();
    cluster.run(2500);
    expect(two.disk.superblock.checkpoint.op).toBe(5);
    expect(cluster.sentBy(two.id, 'checkpointNotice').at(-1)?.message).toMatchObject({ checkpoint: { op: 5 } });
  });
});
