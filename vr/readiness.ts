/** How the members look from the primary, to which all of them acknowledge: who may be given a vote (membership.ts), and who may be counted on. */
import { opNumber, type MemberId } from '../lib/ids.ts';
import type { Member } from './configuration.ts';
import type { Readiness } from './membership.ts';
import type { Replica } from './replica.ts';

/** A member that has acknowledged all but so many entries, of so many bytes, has caught up. */
const CAUGHT_UP_ENTRIES = 2000;
const CAUGHT_UP_BYTES = 8 << 20;

function readinessOf(r: Replica, id: MemberId): Readiness {
  if (id === r.self) return 'ready';
  if (r.now - r.heardAt(id) > r.options.viewChangeMs * 2) return 'silent';
  const acked = opNumber(r.normal.acked(id) ?? 0);
  // What lies before the log would have to be fetched as a state.
  const isNear = acked >= r.log.base && acked + CAUGHT_UP_ENTRIES >= r.log.head && r.log.bytesAfter(acked) <= CAUGHT_UP_BYTES;
  return isNear ? 'ready' : 'behind';
}

/** Of a member among these of the next epoch: what a new witness's log lacks, the voters have to have (row 21). */
export function readinessAmong(r: Replica, members: readonly Member[], id: MemberId): Readiness {
  const { handOver, configuration: present } = r;
  const isWitness = (m: Member): boolean => m.id === id && m.role === 'witness';
  // Its log may begin as late as behind its newest checkpoint. Of one that was never heard of nothing is known: it has no log.
  const base = handOver.notices.offeredBy(id)?.op ?? 0;
  const isHeld = members.every((m) => m.role !== 'voter' || (handOver.notices.offeredBy(m.id)?.op ?? 0) >= base);
  return isHeld || !members.some(isWitness) || present.members.some(isWitness) ? readinessOf(r, id) : 'ahead';
}

/** Nobody looks at it before it gets a vote, so it has to have told of a state on its disk that goes on in this log. */
export function heirReadiness(r: Replica, id: MemberId): Readiness {
  const offer = r.handOver.notices.offeredBy(id);
  return offer === undefined || offer.op < r.log.base ? 'behind' : readinessOf(r, id);
}
