/** PROTOCOL section 3, the rows about view changes: 1, 2, 4, 5-7, 11, 13, 14, 16, 17, 19. */
import { describe, expect, it } from 'vitest';
import { MUTANTS } from '../mutants.ts';
import { kind, Scenario, type ScenarioOptions } from '../scenario.ts';

/** The primary of view 0 is cut off until the others have made a view of their own. */
function viewOne(s: Scenario, backups: readonly number[]): void {
  s.isolate(0);
  s.until('a new view', () => backups.every((i) => s.status(i).view >= 1));
  s.converged(backups);
}

describe('row 1: amnesia', () => {
  it.each(['disk', 'memory'] as const)('a replica that recovers does not end below the view that it spoke for (%s)', (durability) => {
    const s = Scenario.settled({ durability });
    // R1 hears nothing of the primary and says StartViewChange(1), which is delayed.
    const startViewChanges = s.hold(kind('startViewChange', { from: 1 }));
    s.cut(0, 1);
    s.until('R1 suspects the primary', () => startViewChanges.packets.length > 0);
    startViewChanges.stop();
    s.crash(1);
    s.heal();
    s.restart(1);
    s.converged();
    // In disk mode it still has its log, and its word bound nobody yet.
    if (durability === 'memory') expect(s.status(1).view).toBeGreaterThanOrEqual(1);
    // R2's DoViewChange without X is delayed, R2 crashes and recovers; then X is committed.
    const doViewChanges = s.hold(kind('doViewChange', { from: 2 }));
    s.cut(s.status(2).view % 3, 2);
    startViewChanges.release();
    s.run(2000);
    s.crash(2);
    s.heal();
    doViewChanges.stop();
    s.restart(2);
    s.converged();
    const x = s.write(3, 42);
    // The stale messages arrive after all, and the primary goes.
    const primary = s.status(0).view % 3;
    doViewChanges.release();
    s.run(50);
    s.crash(primary);
    const others = [0, 1, 2].filter((i) => i !== primary);
    s.converged(others);
    expect(s.status(others[0] ?? 0).executed).toBeGreaterThanOrEqual(x);
    expect(s.read(3)).toBe(42);
  });
});

/** Row 2 as Vanlightly found it. Returns the log-view that the backup claims in the end. */
function truncation(options: ScenarioOptions): { logView: number; op: number; x: number } {
  const s = Scenario.settled({ replicas: 3, ...options });
  // R2 acknowledges X, so that it is committed, but never hears that it is.
  const commits = s.hold((p) => p.to === 2 && (p.message.type === 'commit' || p.message.type === 'startView'));
  const x = s.write(1, 77);
  // View 1 begins without R2; its StartView does not reach R0, and its log does not reach R2.
  s.isolate(2);
  const startViews = s.hold(kind('startView', { from: 1 }));
  const newStates = s.hold(kind('newState'));
  s.cut(0, 1);
  s.until('R1 suspects', () => s.sent('startViewChange', { from: 1 }).length > 0);
  s.heal();
  s.isolate(2);
  s.cut(0, 1);
  s.until('R0 gives up its view', () => s.status(0).status === 'view-change');
  s.heal();
  s.isolate(2);
  s.until('R1 leads view 1', () => s.status(1).isPrimary && s.status(1).status === 'normal');
  // R2 hears a Commit of view 1 and nothing else of it; then R1 is gone.
  commits.stop();
  s.heal();
  s.separate([0], [1, 2]);
  const moreStartViews = s.hold(kind('startView', { from: 1 }));
  s.until('R2 hears of view 1', () => s.sent('commit', { from: 1, to: 2 }).length > 3);
  s.run(3);
  s.crash(1);
  startViews.stop();
  moreStartViews.stop();
  newStates.stop();
  s.heal();
  s.until('R2 votes', () => s.status(2).view > 1 && s.sent('doViewChange').some((m) => m.view > 1));
  s.converged([0, 2]);
  const { logView, op } = s.status(2);
  expect(s.read(1)).toBe(77);
  return { logView, op, x };
}

describe('row 2: truncation on state transfer', () => {
  it('keeps the log and the log-view until the new log is there', () => {
    const { op, x } = truncation({});
    expect(op).toBeGreaterThanOrEqual(x);
  });
  it('would lose an acknowledged op otherwise', () => {
    const mutant = MUTANTS.find((m) => m.name === 'truncates on state transfer');
    expect(() => truncation({ Replica: mutant?.options.Replica, checkOrderOfEffects: false })).toThrow(/committed ops survive|stops itself|one chain/);
  });
});

describe('row 4: a log that does not fit into the messages', () => {
  it('is named whole by its headers and repaired by hash', () => {
    const s = Scenario.settled();
    // R1, the next primary, misses six entries of 100 KiB that R2 acknowledges.
    s.separate([0, 2], [1]);
    const writes = [1, 2, 3, 4, 5, 6].map((n) => s.begin(n % 6, n, 0, 100 << 10));
    s.until('they are committed', () => writes.every((w) => s.answered(w)), 5000);
    s.crash(0);
    s.heal();
    s.converged([1, 2]);
    expect(s.status(1).isPrimary).toBe(true);
    expect(s.sent('getState', { from: 1 }).some((m) => m.repairHead !== null)).toBe(true);
    for (const n of [1, 2, 3, 4, 5]) expect(s.read(n)).toBe(n);
    s.restart(0);
    s.converged();
  });
});

describe('rows 5 and 6: log-view and log over a restart', () => {
  it('a superseded tail does not come back when a replica crashes after it took over the log of the new view', () => {
    const s = Scenario.settled();
    // R0 has a tail that nobody else has.
    s.isolate(0);
    s.begin(1, 11);
    s.run(30);
    expect(s.status(0).op).toBeGreaterThan(s.status(1).op);
    s.converged([1, 2]);
    s.write(2, 22);
    s.heal();
    s.until('R0 is in the new view', () => s.status(0).status === 'normal' && s.status(0).view >= 1);
    s.crash(0, 'kept');
    s.crash(1, 'kept');
    s.restart(0);
    s.converged([0, 2]);
    expect(s.read(2)).toBe(22);
    s.restart(1);
    s.converged();
  });

  it('an acknowledgement of the newer view counts after the restart of everybody', () => {
    const s = Scenario.settled();
    viewOne(s, [1, 2]);
    const x = s.write(1, 5);
    for (const i of [1, 2]) s.crash(i, 'lost');
    s.crash(0, 'lost');
    s.heal();
    for (const i of [0, 2]) s.restart(i);
    s.converged([0, 2]);
    expect(s.status(0).executed).toBeGreaterThanOrEqual(x);
    expect(s.read(1)).toBe(5);
  });
});

describe('row 7: a restarted primary', () => {
  it('never goes on in its view', () => {
    const s = Scenario.settled();
    s.begin(1, 1);
    s.run(1);
    s.crash(0, 'lost');
    s.restart(0);
    s.converged();
    expect(s.status(0).view).toBeGreaterThanOrEqual(1);
    const incarnation = s.host(0).incarnation;
    expect(s.policy.sent.some((p) => p.from === 0 && p.label === incarnation && p.message.type === 'prepare' && p.message.view === 0)).toBe(false);
  });
});

describe('row 13: acknowledging what is executed already', () => {
  it('lets a primary commit that knows less than its backups', () => {
    const s = Scenario.settled({ replicas: 5 });
    // Only R4 learns that X is committed.
    const commits = s.hold((p) => p.from === 0 && p.to !== 4 && p.message.type === 'commit');
    const x = s.write(1, 9);
    s.until('R4 has executed it', () => s.status(4).executed >= x);
    s.isolate(4);
    s.crash(0);
    commits.stop();
    s.converged([1, 2, 3]);
    // From now on a quorum needs R4's word.
    const slow = s.hold((p) => p.from === 3);
    s.heal();
    expect(s.write(2, 10)).toBeGreaterThan(x);
    slow.stop();
    s.converged([1, 2, 3, 4]);
  });
});

describe('row 14: the client table changes at execution only', () => {
  it('a request whose entry is truncated is executed when it is sent again', () => {
    const s = Scenario.settled();
    s.isolate(0);
    const lost = s.begin(1, 33);
    s.until('R0 has it in its log', () => s.status(0).op > s.status(1).op);
    s.converged([1, 2]);
    const { op } = s.done(lost);
    expect(op).toBeGreaterThan(0);
    s.heal();
    s.converged();
    // R0 leads again one day, and has no wrong memory of that slot.
    s.makePrimary(0);
    s.write(2, 1);
    expect(s.status(0).isPrimary).toBe(true);
    expect(s.read(1)).toBe(33);
  });
});

describe('row 16: lost messages of a view change', () => {
  it.each(['doViewChange', 'startView', 'startViewChange'] as const)('%s is sent again', (type) => {
    const s = Scenario.settled();
    let lost = 0;
    const rule = s.hold((p) => p.message.type === type && ++lost <= 8);
    viewOne(s, [1, 2]);
    expect(rule.packets.length).toBeGreaterThan(0);
    expect(s.write(1, 2)).toBeGreaterThan(0);
    s.heal();
    s.converged();
  });
});

describe('row 17: the commit-number of a newer view', () => {
  it('is not applied to an older log', () => {
    const s = Scenario.settled({ replicas: 5 });
    // R0 and R4 have A at the op where view 1 will have B.
    s.separate([0, 4], [1, 2, 3]);
    s.begin(1, 1);
    s.until('R4 has A', () => s.status(4).op > s.status(1).op);
    const tail = s.status(4).op;
    const executed = s.status(4).executed;
    s.converged([1, 2, 3]);
    for (let n = 0; n < 5; n++) s.write(2, n);
    // R4 hears of view 1 and its commit-number, but gets no log.
    const logs = s.hold((p) => p.to === 4 && (p.message.type === 'startView' || p.message.type === 'newState'));
    s.heal();
    s.isolate(0);
    s.until('R4 hears of the new view', () => s.sent('commit', { to: 4 }).some((m) => m.view >= 1 && m.commit >= tail));
    s.run(200);
    expect(s.status(4).executed).toBe(executed);
    logs.release();
    s.heal();
    s.converged();
  });
});

describe('row 19: time', () => {
  it('does not go back when the next primary has a slower clock', () => {
    const s = Scenario.settled();
    s.host(1).clock.jump(-3_600_000_000);
    s.host(2).clock.jump(-7_200_000_000);
    const before = s.write(1, 1);
    viewOne(s, [1, 2]);
    const after = s.write(1, 2);
    const time = (op: number): number => s.cluster.checkers.chain.entryAt(op)?.time ?? Number.NaN;
    expect(time(after)).toBeGreaterThan(time(before));
  });
});
