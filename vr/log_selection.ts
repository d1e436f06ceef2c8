/**
 * Which log wins a view change (VRR 4.2): the one of the newest view in which its holder was normal, and among
 * those the longest. Every committed op is in it, because the quorum that acknowledged the op and the quorum that
 * says DoViewChange share a replica, and a replica's log-view only rises together with its log.
 */
import { assert, defined } from '../lib/assert.ts';
import type { MemberId, OpNumber } from '../lib/ids.ts';
import type { DoViewChange } from './messages.ts';

export interface Selection {
  readonly winner: MemberId;
  readonly message: DoViewChange;
  /** The highest commit-number that anyone knows. */
  readonly commit: OpNumber;
}

export function selectLog(messages: ReadonlyMap<MemberId, DoViewChange>): Selection {
  assert(messages.size > 0, 'a view change without messages');
  let winner: MemberId | undefined;
  let best: DoViewChange | undefined;
  let commit = 0 as OpNumber;
  for (const [sender, m] of messages) {
    if (best === undefined || m.logView > best.logView || (m.logView === best.logView && m.op > best.op)) {
      winner = sender;
      best = m;
    }
    if (m.commit > commit) commit = m.commit;
  }
  const message = defined(best, 'winner');
  assert(commit <= message.op, () => `op ${commit} is committed but the winning log ends at ${message.op}`);
  return { winner: defined(winner, 'winner'), message, commit };
}
