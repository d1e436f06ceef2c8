/** PROTOCOL section 3, the rows about recovery, state transfer and log collection: 3, 8-12, 15; and section 2. */
import { describe, expect, it } from 'vitest';
import type { RecoveryResponse } from '../../../vr/messages.ts';
import { kind, Scenario } from '../scenario.ts';

/** Checkpoints often, and the log behind them goes at once. */
const SHORT_LOG = { checkpointOps: 5, retainEntries: 0, retainBytes: 0 } as const;

function writes(s: Scenario, count: number): void {
  for (let n = 1; n <= count; n++) s.write(n % 6, n);
}

/** R2 lags so far behind view 1's log that it needs a checkpoint. */
function laggard(s: Scenario): void {
  s.isolate(2);
  writes(s, 20);
  s.cut(0, 1, true);
  s.until('R0 abdicates', () => s.status(0).status === 'view-change');
  s.heal();
  s.isolate(2);
  s.until('R1 leads', () => s.status(1).isPrimary);
  s.converged([0, 1]);
  writes(s, 20);
}

describe('row 3: taking over a checkpoint', () => {
  it('does not raise the log-view before the log is there', () => {
    const s = Scenario.settled({ replica: SHORT_LOG });
    laggard(s);
    // R2 gets the checkpoint of view 1, but not the entries behind it.
    const logs = s.hold((p) => p.to === 2 && p.message.type === 'newState' && p.message.kind === 'entries');
    const startViews = s.hold((p) => p.to === 2 && p.message.type === 'startView' && p.message.claim.entries.length > 0);
    s.heal();
    s.until('R2 has the checkpoint', () => s.status(2).executed > 5);
    s.run(100);
    expect(s.status(2).logView).toBe(0);
    s.crash(1);
    logs.stop();
    startViews.stop();
    s.converged([0, 2]);
    expect(s.sent('doViewChange', { from: 2 }).every((m) => m.logView === 0)).toBe(true);
    for (let n = 15; n <= 20; n++) expect(s.read(n % 6)).toBe(n);
  });

  it('fetches state and log when both are to be had', () => {
    const s = Scenario.settled({ replica: SHORT_LOG });
    laggard(s);
    s.heal();
    s.converged();
    expect(s.coverage.get('checkpoint transfers')).toBe(1);
  });
});

describe('row 8: a recovery with a superseded tail', () => {
  it('starts from what is certain', () => {
    const s = Scenario.settled();
    s.isolate(0);
    s.begin(1, 11);
    s.run(30);
    s.until('the others go on', () => s.status(1).view >= 1 && s.status(2).view >= 1);
    s.converged([1, 2]);
    writes(s, 5);
    s.crash(0, 'kept');
    s.host(0).damageJournal();
    s.heal();
    s.restart(0);
    s.converged();
    expect(s.read(5)).toBe(5);
  });
});

describe('row 9: the log that is asked for was collected', () => {
  it('a new primary that lacks more than the log holds lets another lead', () => {
    const s = Scenario.settled({ replica: SHORT_LOG });
    s.isolate(1);
    writes(s, 30);
    s.crash(0);
    s.heal();
    s.converged([1, 2]);
    expect(s.coverage.get('event yields')).toBeGreaterThan(0);
    expect(s.status(1).executed).toBeGreaterThanOrEqual(30);
    for (let n = 25; n <= 30; n++) expect(s.read(n % 6)).toBe(n);
    s.restart(0);
    s.converged();
  });
});

describe('row 10: nonces', () => {
  it('answers to an earlier attempt do not count', () => {
    const s = Scenario.settled({ durability: 'memory' });
    s.crash(2);
    const answers = s.hold(kind('recoveryResponse', { to: 2 }));
    s.restart(2);
    s.until('both have answered', () => answers.packets.length >= 2);
    s.crash(2);
    s.restart(2);
    const first = answers.packets.slice();
    for (const packet of first) s.cluster.network.release(packet);
    s.run(100);
    expect(s.status(2).status).toBe('recovering');
    const nonces = s.sent('recovery', { from: 2 }).map((m) => m.nonce.toString('hex'));
    expect(new Set(nonces).size).toBeGreaterThanOrEqual(2);
    answers.stop();
    s.converged();
    expect(new Set(first.map((p) => (p.message as RecoveryResponse).nonce.length))).toEqual(new Set([16]));
  });
});

describe('row 11: a recovering replica', () => {
  it('has no voice in a view change', () => {
    const s = Scenario.settled({ durability: 'memory' });
    s.crash(2);
    const answers = s.hold(kind('recoveryResponse', { to: 2 }));
    s.restart(2);
    const before = s.policy.sent.length;
    s.isolate(0);
    s.run(5000);
    const said = s.policy.sent.slice(before).filter((p) => p.from === 2 && ['startViewChange', 'doViewChange', 'startView', 'prepareOk'].includes(p.message.type));
    expect(said).toEqual([]);
    expect(s.status(1).isPrimary).toBe(false);
    answers.stop();
    s.heal();
    s.converged();
  });
});

describe('row 12: the whole group restarts', () => {
  it.each(['kept', 'lost'] as const)('disk mode: everything acknowledged is there (what was not synced: %s)', (unsynced) => {
    const s = Scenario.settled();
    writes(s, 12);
    s.begin(0, 99);
    s.run(2);
    for (const i of [0, 1, 2]) s.crash(i, unsynced);
    for (const i of [0, 1, 2]) s.restart(i);
    s.converged();
    for (let n = 8; n <= 11; n++) expect(s.read(n % 6)).toBe(n);
  });

  it('memory mode: it stays unavailable and says so, it never serves an empty state', () => {
    const s = Scenario.settled({ durability: 'memory' });
    writes(s, 3);
    for (const i of [0, 1, 2]) s.crash(i);
    for (const i of [0, 1, 2]) s.restart(i);
    const read = s.beginRead(1);
    const write = s.begin(1, 2);
    s.run(20_000);
    for (const i of [0, 1, 2]) expect(s.status(i).status).toBe('recovering');
    expect([s.answered(read), s.answered(write)]).toEqual([false, false]);
    expect(s.coverage.get('event group-cannot-recover')).toBeGreaterThan(0);
  });
});

describe('row 15: a duplicate after a checkpoint was taken over', () => {
  it('is answered from the stored reply', () => {
    const s = Scenario.settled({ replica: SHORT_LOG });
    s.isolate(2);
    // The client's request is executed, but the answer is lost; it goes on sending it.
    const replies = s.hold(kind('reply'));
    const once = s.begin(1, 123);
    s.until('it is executed', () => s.status(1).executed === s.status(0).op && s.status(0).op > 2);
    s.client(0).crash();
    replies.stop();
    const old = s.policy.sent.filter((p) => p.message.type === 'request').at(-1);
    s.cluster.startClient(s.client(0));
    writes(s, 20);
    s.heal();
    s.converged();
    expect(s.coverage.get('checkpoint transfers')).toBe(1);
    // R2 leads, and meets the request again.
    s.makePrimary(2);
    expect(old).toBeDefined();
    if (old !== undefined) for (const to of [0, 1, 2]) s.cluster.network.release({ ...old, to });
    s.run(200);
    s.converged();
    expect(s.answered(once)).toBe(false);
    expect(s.read(1)).toBe(19);
  });
});

describe('damage', () => {
  it('a journal that is damaged at its end is not taken for a torn write', () => {
    const s = Scenario.settled();
    writes(s, 10);
    s.isolate(0);
    s.crash(2, 'kept');
    s.host(2).damageJournal();
    s.restart(2);
    s.run(5000);
    // Alone with R1 it could only guess; it waits for a primary that knows.
    expect(s.status(2).status).toBe('recovering');
    s.heal();
    s.converged();
    for (let n = 6; n <= 10; n++) expect(s.read(n % 6)).toBe(n);
  });
});

describe('a checkpoint that is durable before the journal', () => {
  it('costs no failure: the replica goes on behind it, and says nothing before its incarnation is durable', () => {
    const s = Scenario.settled({ replica: SHORT_LOG });
    // R2's journal hangs in one sync, while its checkpoints get through.
    s.host(2).syncMs = [60_000, 0];
    s.write(0, 1);
    s.run(5);
    s.host(2).syncMs = [1, 0];
    writes(s, 20);
    s.until('the checkpoint is durable', () => (s.host(2).checkpointDisk.durable?.op ?? 0) > s.host(2).journalDisk.head);
    s.crash(2, 'lost');
    s.crash(1);
    s.host(2).superblockMs = [200, 0];
    s.restart(2);
    s.converged([0, 2]);
    expect(s.sent('recovery', { from: 2 })).toEqual([]);
    for (let n = 15; n <= 20; n++) expect(s.read(n % 6)).toBe(n);
  });
});
