/** Row 14, a client table that changes when a request is prepared: the operation is truncated, and its client is locked out. */
import { Scenario } from '../scenario.ts';
import { alterGetter, altered, EXPECTATION, STALE, STALL, type Breakage, type NamedScenario, type Row } from './row.ts';
import { reachesOnly, restless, splitting, viewOne } from './support.ts';

/** R0 prepares X, which view 1 does not take over. When R0 leads again it gets X anew. */
function truncated(broken: Breakage): void {
  const s = Scenario.settled(broken);
  const elsewhere = reachesOnly(s, 0, [0]);
  s.isolate(0);
  const x = s.begin(1, 42);
  s.until('R0 has prepared X', () => s.status(0).op > s.status(1).op);
  viewOne(s, [1, 2]);
  s.expect('X is not in view 1', s.status(1).op < s.status(0).op);
  const away = s.hold((p) => p.from === s.client().endpoint);
  s.heal();
  s.converged();
  s.makePrimary(0);
  away.stop();
  s.done(x);
  elsewhere.stop();
  s.expect('X is there', s.read(1) === 42);
}

/** X is in the log of view 1, and not known there to be committed: its client sends it again to the new primary, which does not know what became of it. */
function inherited(broken: Breakage): void {
  const s = Scenario.settled({ clients: 2, ...broken });
  s.write(0, 2, 1);
  const replies = s.hold((p) => p.to === s.client().endpoint && p.message.type === 'reply');
  const unaware = s.hold((p) => p.from === 0 && p.message.type === 'commit');
  const before = s.status(0).executed;
  const x = s.begin(1, 42);
  s.until('R0 has executed X', () => s.status(0).executed > before);
  s.crash(0);
  unaware.stop();
  replies.stop();
  // R1 cannot commit before R2 has written.
  s.host(2).syncMs = [500, 0];
  s.host(2).superblockMs = [1, 0];
  s.until('R1 leads', () => s.status(1).isPrimary);
  s.write(1, 43, 1);
  s.host(2).syncMs = [1, 0];
  s.done(x);
  s.run(1000);
  s.expect('X is not executed after what came later', s.read(1) === 43);
}

const TRUNCATED: NamedScenario = { name: 'a request that a view change has dropped comes again', run: truncated };
const INHERITED: NamedScenario = { name: 'a request that a view change has taken over comes again', run: inherited };

export const preparedTable: Row = {
  row: 14,
  title: 'the client table changes at prepare time',
  scenarios: [TRUNCATED, INHERITED],
  mutants: [
    {
      name: 'what was prepared counts as under way in later views, too',
      breakage: { Replica: altered((r) => {
        const forget = r.clients.clearVolatile.bind(r.clients);
        r.clients.clearVolatile = () => {
          const prepared = [...r.clients.sessions()].flatMap((s) => s.slots.flatMap((slot) => (slot === undefined ? [] : [{ slot, seq: slot.inFlight }])));
          forget();
          for (const { slot, seq } of prepared) slot.inFlight = seq;
        };
      }) },
      scenario: TRUNCATED, killedBy: [EXPECTATION], seeds: { replicas: 3, adjustProfile: splitting }, foundBy: STALL,
    },
    {
      // Three layers: requests wait until what was inherited is executed; it counts as under way; an execution looks once more.
      name: 'what is inherited counts as new, at the primary and where it is executed',
      breakage: { Replica: altered((r) => {
        alterGetter(r.normal, 'serving', () => r.normal.open && r.isPrimary && r.execution.ready);
        r.clients.markInFlight = () => undefined;
        r.clients.executed = () => undefined;
      }) },
      scenario: INHERITED, killedBy: ['exactly once'], seeds: { replicas: 3, durability: 'disk', adjustProfile: restless }, foundBy: ['exactly once', ...STALE],
    },
  ],
};
