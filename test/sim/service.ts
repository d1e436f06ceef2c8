/**
 * That a group which has come right serves: every client that runs has a new write and a linearizable read answered, one client after the other, within a
 * bounded time. A replica that is normal, and like the others, and answers nobody is found here.
 */
import { assert } from '../../lib/assert.ts';
import type { Prng } from '../../lib/prng.ts';
import { Violation } from '../checkers/violation.ts';
import type { Operation } from './application.ts';
import type { Invocation, SimulatedClient } from './client.ts';
import type { Cluster } from './cluster.ts';

/** What one client's write, or its read, may take, in virtual milliseconds: a session that has to be registered first, a lease, an overdue answer from a replica that is gone. */
const SERVICE_BOUND = 20_000;
/** Which failures may be repeated: a client gives up early, or its session was ended in favour of another. */
const REPEATABLE: ReadonlySet<string> = new Set(['timedOut', 'outcomeUnknown']);

export function demandService(cluster: Cluster, random: Prng, report: () => string): void {
  for (const client of cluster.clients) {
    for (const reading of [false, true]) {
      const begun = cluster.now;
      served(cluster, client, () => draw(cluster, random, reading), report);
      cluster.coverage.count('requests served at the end');
      cluster.coverage.count('ms to be served at the end', cluster.now - begun);
    }
  }
}

/** Asks until there is an answer: another operation after each failure that says nothing about the group. */
function served(cluster: Cluster, client: SimulatedClient, draws: () => Operation, report: () => string): void {
  assert(client.process !== null, 'a client that runs');
  const { driver } = cluster;
  const end = cluster.now + SERVICE_BOUND;
  let asked: Invocation | null = null;
  let answered = false;
  cluster.driver = {
    nextOperation: () => null,
    completed: (_client, invocation) => { if (invocation === asked) answered = true; },
    failed: (_client, invocation, failure) => {
      if (invocation !== asked) return;
      if (!REPEATABLE.has(failure.code)) throw new Violation('liveness', `a group that has converged refuses client #${client.endpoint}'s ${invocation.read ?? 'write'}: ${failure.code}, ${failure.reason}; ${report()}`);
      cluster.coverage.count('requests repeated at the end');
      asked = null;
    },
  };
  while (!answered) {
    if (cluster.now >= end) throw new Violation('liveness', `a group that has converged does not answer client #${client.endpoint} within ${SERVICE_BOUND} ms; ${report()}`);
    if (asked === null) {
      const { body, read } = draws();
      asked = read === null ? client.submit(body) : client.read(body, read);
    }
    cluster.queue.runTo(cluster.now + 10);
  }
  cluster.driver = driver;
}

function draw(cluster: Cluster, random: Prng, reading: boolean): Operation {
  if (reading) return { body: cluster.workload.read(random), read: 'linearizable' };
  for (;;) {
    const next = cluster.workload.next(random);
    if (next.read === null) return next;
  }
}
