/** Changing the members in a scenario. */
import { assert, defined } from '../../../lib/assert.ts';
import type { Configuration, Member, Role } from '../../../vr/configuration.ts';
import type { Change, Outcome } from '../administrator.ts';
import type { Host } from '../host.ts';
import type { Scenario } from '../scenario.ts';

export function present(s: Scenario): Configuration {
  return s.cluster.membership.present;
}

/** A node that waits to be made a member, running. */
export function join(s: Scenario): Host {
  const host = s.cluster.addHost();
  host.syncMs = [1, 0];
  host.start();
  return host;
}

export function memberOf(host: Host, role: Role): Member {
  return { id: host.id, role, address: host.address, httpAddress: host.httpAddress };
}

/** The present members without `gone` and with `added` (which may be a member already, in another role). */
export function changed(s: Scenario, gone: readonly number[], added: readonly Member[]): Change {
  const from = present(s);
  const replaced = new Set([...gone.map((i) => s.host(i).id as number), ...added.map((m) => m.id as number)]);
  return { from, members: [...from.members.filter((m) => !replaced.has(m.id)), ...added.map((m) => from.members.find((old) => old.id === m.id) ?? m).map((m, i) => ({ ...m, role: defined(added[i], 'added member').role }))], force: false };
}

/** Asks until the answer comes. */
export function asked(s: Scenario, change: Change, bound = 30_000): Outcome {
  const { administrator } = s.cluster;
  administrator.begin(change);
  s.until('the administrator has an answer', () => administrator.outcome !== null, bound);
  return defined(administrator.outcome ?? undefined, 'outcome');
}

/** Asks, again while the answer is that it is too early, until it is done and the new epoch has started. */
export function changes(s: Scenario, change: Change, bound = 30_000): void {
  const end = s.cluster.now + bound;
  for (;;) {
    const outcome = asked(s, { ...change, from: present(s) }, bound);
    if (outcome.kind === 'done') break;
    assert(outcome.kind === 'refused' && (outcome.code === 'unready' || outcome.code === 'underWay') && s.cluster.now < end, `the change came to ${JSON.stringify(outcome)}`);
    s.run(100);
  }
  s.until('the new epoch has started', () => s.cluster.membership.isComplete, bound);
}

/** Its members are normal in the present epoch and have all of the log, those that execute have executed it. */
export function settles(s: Scenario, bound = 30_000): void {
  s.until('the members of the new epoch converge', () => {
    const states = s.cluster.members.filter((h) => h.running).map((h) => h.status);
    const first = states[0];
    return first !== undefined && states.every((x) => x.status === 'normal' && x.epoch === present(s).epoch && x.view === first.view && x.op === first.op && (x.role === 'witness' || x.executed === x.op));
  }, bound);
}
