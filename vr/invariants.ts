/** What must hold of a replica after every event. Cheap enough to be checked always; what spans replicas is checked by the simulator. */
import { assert } from '../lib/assert.ts';
import type { Replica } from './replica.ts';

export function checkInvariants(r: Replica): void {
  assert(r.commit <= r.log.head || !r.execution.ready, () => `commit ${r.commit} beyond the head ${r.log.head}`);
  assert(r.executed <= r.commit, () => `executed ${r.executed} beyond commit ${r.commit}`);
  assert(!r.execution.ready || r.log.base <= r.executed, () => `log from ${r.log.base}, executed ${r.executed}`);
  assert(r.logView <= r.view || r.phase === 'recovering', () => `log-view ${r.logView} beyond view ${r.view}`);
  assert(r.phase !== 'normal' || r.logView === r.view, () => `normal in view ${r.view} with the log of view ${r.logView}`);
  assert(r.persistence.durable.logView <= r.logView, 'the disk is ahead of the memory');
}
