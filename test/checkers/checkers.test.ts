/** A checker that finds nothing is worse than none: each is shown the error that it is there for. */
import { describe, expect, it } from 'vitest';
import { defined } from '../../lib/assert.ts';
import { ZERO_DIGEST } from '../../lib/hash.ts';
import { epoch, memberId, opNumber, sessionId, view, viewOf, type Digest } from '../../lib/ids.ts';
import { configuration } from '../../vr/configuration.ts';
import { makeEntry, type Entry } from '../../vr/entry.ts';
import type { Message } from '../../vr/messages.ts';
import type { Superblock } from '../../vr/superblock.ts';
import { CheckpointPoints } from './checkpoint_points.ts';
import { CheckpointRoots } from './checkpoint_roots.ts';
import { ClientOrder } from './client_order.ts';
import { CommitChain } from './commit_chain.ts';
import { ExactlyOnce } from './exactly_once.ts';
import { checkSending, checkSuperblocks } from './order_of_effects.ts';
import { ReplyChecker, type SequentialModel } from './sequential_model.ts';
import { SurvivingCommits } from './surviving_commits.ts';
import { checkVoice } from './voices.ts';

const RESULT = Buffer.from('done');

function entry(op: number, parent: Digest, change: { view?: number; time?: number; body?: string; seq?: number } = {}): Entry {
  return makeEntry({
    kind: 'request', epoch: epoch(0), view: view(change.view ?? 0), op: opNumber(op), time: change.time ?? op, session: sessionId(1), slot: 0,
    seq: change.seq ?? op, body: Buffer.from(change.body ?? `operation ${op}`),
  }, parent);
}

const first = entry(1, ZERO_DIGEST);
const second = entry(2, first.hash);

describe('the commit chain', () => {
  it('accepts one order at several replicas, also from a checkpoint on', () => {
    const chain = new CommitChain();
    expect(chain.executed(0, first, RESULT)).toBe(true);
    expect(chain.executed(0, second, RESULT)).toBe(true);
    chain.restart(1, 1);
    expect(chain.executed(1, second, RESULT)).toBe(false);
    expect(chain.head).toBe(2);
  });
  it('finds another entry at an op', () => {
    const chain = new CommitChain();
    chain.executed(0, first, RESULT);
    expect(() => chain.executed(1, entry(1, ZERO_DIGEST, { body: 'other' }), RESULT)).toThrow(/one chain/);
  });
  it('finds another parent', () => {
    const chain = new CommitChain();
    chain.executed(0, first, RESULT);
    expect(() => chain.executed(1, entry(2, entry(1, ZERO_DIGEST, { body: 'other' }).hash), RESULT)).toThrow(/one chain/);
  });
  it('finds an op that is executed twice, or out of order', () => {
    const chain = new CommitChain();
    chain.executed(0, first, RESULT);
    expect(() => chain.executed(0, first, RESULT)).toThrow(/execution in order/);
  });
  it('finds an op that the first to pass it left out', () => {
    const chain = new CommitChain();
    chain.executed(0, second, RESULT);
    expect(() => chain.executed(1, first, RESULT)).toThrow(/complete execution/);
  });
  it('finds views and times that fall', () => {
    const chain = new CommitChain();
    const late = entry(1, ZERO_DIGEST, { view: 3, time: 50 });
    chain.executed(0, late, RESULT);
    expect(() => chain.executed(0, entry(2, late.hash, { view: 2, time: 60 }), RESULT)).toThrow(/views never fall/);
    const other = new CommitChain();
    other.executed(0, late, RESULT);
    expect(() => other.executed(0, entry(2, late.hash, { view: 3, time: 50 }), RESULT)).toThrow(/time rises/);
  });
  it('finds a result that differs between replicas', () => {
    const chain = new CommitChain();
    chain.executed(0, first, RESULT);
    expect(() => chain.executed(1, first, Buffer.from('else'))).toThrow(/determinism/);
  });
});

describe('surviving commits', () => {
  it('finds a later view that starts without a committed op', () => {
    const chain = new CommitChain();
    chain.executed(0, first, RESULT);
    chain.executed(0, second, RESULT);
    const surviving = new SurvivingCommits(chain);
    surviving.committed(2, 4);
    const start = (v: number, entries: readonly Entry[]): void => surviving.startView(1, {
      type: 'startView', view: view(v), op: opNumber(entries.length), commit: opNumber(0), nonce: Buffer.alloc(0),
      claim: { base: opNumber(0), baseHash: ZERO_DIGEST, headers: entries, entries: [] },
    });
    start(5, [first, second]);
    start(4, [first]);
    expect(() => start(5, [first])).toThrow(/committed ops survive/);
    expect(() => start(5, [first, entry(2, first.hash, { body: 'other' })])).toThrow(/committed ops survive/);
  });

  it('finds it below what a long log names', () => {
    const chain = new CommitChain();
    chain.executed(0, first, RESULT);
    chain.executed(0, second, RESULT);
    const surviving = new SurvivingCommits(chain);
    surviving.committed(2, 4);
    const startBehind = (e: Entry): void => surviving.startView(1, {
      type: 'startView', view: view(5), op: e.op, commit: opNumber(0), nonce: Buffer.alloc(0), claim: { base: e.op, baseHash: e.hash, headers: [], entries: [] },
    });
    startBehind(second);
    expect(() => startBehind(entry(2, first.hash, { body: 'other' }))).toThrow(/committed ops survive/);
  });
});

describe('exactly once', () => {
  const started = (): ExactlyOnce => {
    const once = new ExactlyOnce();
    const nonce = Buffer.alloc(16, 1);
    once.registering(nonce);
    once.sessionStarted(entry(1, ZERO_DIGEST), nonce);
    once.requested(1, 0, 2, second.body);
    return once;
  };
  it('accepts a request of a live session', () => {
    const once = started();
    once.executed(second);
    expect(once.opOfOperation(second.body)).toBe(2);
  });
  it('finds what nobody requested', () => {
    expect(() => started().executed(entry(2, first.hash, { body: 'invented' }))).toThrow(/were requested/);
    expect(() => new ExactlyOnce().sessionStarted(first, Buffer.alloc(16))).toThrow(/were requested/);
  });
  it('finds a request that is executed twice, also under another name', () => {
    const once = started();
    once.executed(second);
    expect(() => once.executed(entry(3, second.hash, { seq: 2, body: 'operation 2' }))).toThrow(/exactly once/);
    once.requested(1, 0, 4, second.body);
    expect(() => once.executed(entry(4, second.hash, { seq: 4, body: 'operation 2' }))).toThrow(/exactly once/);
  });
  it('finds a request of a session that has ended', () => {
    const once = started();
    once.sessionEnded(1);
    expect(() => once.executed(second)).toThrow(/live sessions/);
  });
  it('finds a broken promise that something was not executed', () => {
    const once = started();
    once.executed(second);
    expect(() => once.disowned(second.body)).toThrow(/keep their promise/);
    const other = started();
    other.disowned(second.body);
    expect(() => other.executed(second)).toThrow(/keep their promise/);
  });
});

describe('the order that clients see', () => {
  it('finds wrong ops, wrong results and time that runs backwards', () => {
    const order = new ClientOrder();
    order.writeAnswered('w', 5, 4, 5, RESULT, RESULT);
    expect(order.floor).toBe(5);
    expect(() => order.writeAnswered('w', 6, 5, 7, RESULT, RESULT)).toThrow(/are executed/);
    expect(() => order.writeAnswered('w', 6, 5, 6, RESULT, Buffer.from('x'))).toThrow(/are results/);
    expect(() => order.writeAnswered('w', 4, 5, 4, RESULT, RESULT)).toThrow(/real-time order/);
    expect(() => order.readAnswered('r', 4, 5, 0)).toThrow(/linearizable/);
    expect(() => order.readAnswered('r', 4, null, 5)).toThrow(/client saw/);
    order.readAnswered('r', 4, null, 3);
  });
});

describe('reads that are bounded in age', () => {
  it('finds one that shows less than was acknowledged before', () => {
    let now = 0;
    const order = new ClientOrder(() => now);
    for (const [at, op] of [[100, 5], [200, 9], [300, 12]] as const) {
      now = at;
      order.writeAnswered('w', op, op - 1, op, RESULT, RESULT);
    }
    expect([order.acknowledgedAt(99), order.acknowledgedAt(100), order.acknowledgedAt(250), order.acknowledgedAt(1000)]).toEqual([0, 5, 9, 12]);
    now = 350;
    order.boundedReadAnswered('r', 9, 100);
    expect(() => order.boundedReadAnswered('r', 8, 100)).toThrow(/bounded staleness/);
    expect(() => order.boundedReadAnswered('r', 9, 50)).toThrow(/bounded staleness/);
  });
});

describe('voices', () => {
  const members = ([[1, 'voter'], [2, 'voter'], [3, 'witness'], [4, 'observer']] as const).map(([id, role]) => ({ id: memberId(id), role, address: `r${id}:1`, httpAddress: `r${id}:2` }));
  const c = configuration(epoch(1), members, 'disk');
  const at = viewOf(epoch(1), 1);
  const says = (sender: number, m: Message): void => checkVoice(memberId(sender), m, (e) => (e === 1 ? c : undefined));
  const vote: Message = { type: 'startViewChange', view: at, left: null };
  it('are of electors, members and the primary', () => {
    says(1, vote);
    says(3, vote);
    says(4, { type: 'prepareOk', view: at, op: opNumber(1), round: 0, leaseMs: 0, stamp: 0 });
    says(2, { type: 'commit', view: at, commit: opNumber(0), head: opNumber(0), round: 0, echoes: [] });
  });
  it('finds observers and strangers that vote, others than the primary that speak for it, and epochs that have not begun', () => {
    for (const sender of [4, 5]) expect(() => says(sender, vote)).toThrow(/votes of members only/);
    expect(() => says(5, { type: 'prepareOk', view: at, op: opNumber(1), round: 0, leaseMs: 0, stamp: 0 })).toThrow(/no member/);
    expect(() => says(1, { type: 'commit', view: at, commit: opNumber(0), head: opNumber(0), round: 0, echoes: [] })).toThrow(/of which 2 is the primary/);
    expect(() => says(1, { type: 'startViewChange', view: viewOf(epoch(2), 0), left: null })).toThrow(/has not begun/);
  });
});

describe('the order of effects', () => {
  const superblock: Superblock = {
    clusterId: Buffer.alloc(16), memberId: memberId(1), configuration: configuration(epoch(0), [{ id: memberId(1), role: 'voter' as const, address: 'a', httpAddress: 'b' }], 'disk'),
    incarnation: 2, view: view(5), promisedView: view(4), logView: view(3), instance: Buffer.alloc(16), epochStart: null, heldByAll: opNumber(0), leaseMs: 0,
    checkpoint: { op: opNumber(0), root: ZERO_DIGEST, entryHash: ZERO_DIGEST, view: view(0), time: 0 }, retired: false,
  };
  const durable = { superblock, op: 10, journalLogView: 3 };
  it('finds messages that are ahead of the disk', () => {
    const send = (m: Parameters<typeof checkSending>[4], incarnation = 2): void => checkSending(0, incarnation, 'disk', durable, m);
    send({ type: 'startViewChange', view: view(5), left: null });
    expect(() => send({ type: 'startViewChange', view: view(6), left: null })).toThrow(/order of effects/);
    expect(() => send({ type: 'startViewChange', view: view(5), left: null }, 3)).toThrow(/incarnation/);
    send({ type: 'prepareOk', view: view(3), op: opNumber(10), round: 0, leaseMs: 0, stamp: 0 });
    expect(() => send({ type: 'prepareOk', view: view(3), op: opNumber(11), round: 0, leaseMs: 0, stamp: 0 })).toThrow(/op 11/);
    expect(() => send({ type: 'prepareOk', view: view(4), op: opNumber(10), round: 0, leaseMs: 0, stamp: 0 })).toThrow(/log-view 4/);
  });
  it('finds promises that are taken back', () => {
    checkSuperblocks(0, superblock, { ...superblock, view: view(6) });
    for (const change of [{ view: view(4) }, { promisedView: view(3) }, { logView: view(2) }, { incarnation: 1 }]) {
      expect(() => checkSuperblocks(0, superblock, { ...superblock, ...change })).toThrow(/promises stand/);
    }
  });
});

describe('roots and replies', () => {
  it('finds two roots of one checkpoint', () => {
    const roots = new CheckpointRoots();
    roots.durable(0, 10, 'a');
    roots.durable(1, 10, 'a');
    expect(() => roots.durable(2, 10, 'b')).toThrow(/equal roots/);
  });

  it('finds a checkpoint point that another replica passes, and one that another does not have', () => {
    const points = new CheckpointPoints();
    for (const replica of [0, 1, 2]) points.restart(replica, 0);
    points.reached(0, 5);
    points.executed(0, 7);
    points.reached(1, 5);
    points.executed(1, 7);
    expect(() => { points.executed(2, 7); }).toThrow(/equal checkpoint points.*op 5 is no checkpoint point at replica #2, elsewhere it is one/);
    points.restart(2, 5);
    points.reached(2, 7);
    expect(() => { points.executed(2, 7); }).toThrow(/op 7 is a checkpoint point at replica #2, elsewhere it is none/);
    // What lies before the state that it was given is none of its business.
    points.restart(2, 7);
    points.executed(2, 7);
  });

  /** Counts the entries; a query gives the count. */
  const counting = (): SequentialModel => {
    let count = 0;
    const check = (result: Buffer): string | null => (result[0] === count ? null : `${result[0]}, not ${count}`);
    return { execute: (_entry, result) => { count++; return check(result); }, sessionStarted: () => undefined, sessionEnded: () => undefined, query: (_body, result) => check(result) };
  };
  it('finds replies and reads that the model does not give, also of older states', () => {
    const checker = new ReplyChecker(counting);
    checker.executed(first, Buffer.from([1]), true);
    expect(() => checker.executed(second, Buffer.from([1]), true)).toThrow(/replies as the model/);
    checker.read('r', 2, Buffer.alloc(0), Buffer.from([2]));
    expect(() => checker.read('r', 2, Buffer.alloc(0), Buffer.from([1]))).toThrow(/reads as the model/);
    checker.read('r', 1, Buffer.alloc(0), Buffer.from([1]));
    const old = new ReplyChecker(counting);
    old.executed(first, Buffer.from([1]), true);
    old.executed(entry(2, first.hash), Buffer.from([2]), true);
    old.read('r', 1, Buffer.alloc(0), Buffer.from([2]));
    expect(() => old.replayPastReads()).toThrow(/reads as the model/);
    expect(defined(first.op as number | undefined, 'op')).toBe(1);
  });
});
