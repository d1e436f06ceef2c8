/**
 * Causal and bounded reads, as reads that may have been made earlier than they were asked for.
 *
 * Whoever may answer from a state of some time ago has to answer from one that is not older than a certain moment: it has every
 * change that was acknowledged before that moment. So such a read is right if the object's operations have an order in which the
 * read stands anywhere between that moment and its return, and behind what its process did last to the object (checker.ts).
 *
 *   causal    not older than what its process has seen before: the invocation of each of its linearizable operations, and that of the
 *             change that made each content it has read. The process sends the X-Vrfs-Op of its last answer along.
 *   bounded   that, and not older than `maxStalenessMs` before the read was invoked.
 */
import { contentMadeBy, type Operation } from './operations.ts';

/** The same operations; the weak reads among them with the moment from which on they may have been made as their invocation. */
export function withFreedom(operations: readonly Operation[]): Operation[] {
  const madeAt = new Map<string, number>();
  for (const o of operations) {
    const content = contentMadeBy(o);
    if (content !== null) madeAt.set(content, o.invoke);
  }
  /** Per process: no answer to it may be older than this. */
  const floors = new Map<number, number>();
  const freed = new Map<Operation, Operation>();
  for (const o of [...operations].sort((a, b) => a.invoke - b.invoke)) {
    const floor = floors.get(o.process) ?? 0;
    if (o.consistency !== undefined) freed.set(o, { ...o, invoke: Math.min(o.invoke, earliest(o, floor)) });
    if (o.outcome === 'ok') floors.set(o.process, Math.max(floor, seen(o, madeAt)));
  }
  return operations.map((o) => freed.get(o) ?? o);
}

function earliest(o: Operation, floor: number): number {
  return o.maxStalenessMs === undefined ? floor : Math.max(floor, o.invoke - o.maxStalenessMs * 1e6);
}

/** All that was acknowledged before this moment is in the state that the answer shows. */
function seen(o: Operation, madeAt: ReadonlyMap<string, number>): number {
  if (o.consistency === undefined) return o.invoke;
  const content = o.outcome === 'ok' && typeof o.result === 'string' ? o.result : null;
  return content === null ? 0 : (madeAt.get(content) ?? 0);
}
