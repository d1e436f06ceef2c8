/**
 * A replica that is told to end while it leads: first another takes over, which takes some milliseconds. Were it simply gone, the others
 * would have to miss it before, and the group would stand still meanwhile.
 */
import { quorum } from '../vr/configuration.ts';
import type { Replica } from '../vr/replica.ts';
import type { PeerLinks } from './peer_links.ts';

/** Members that there is a link to. */
export function connected(peers: PeerLinks): number[] {
  return peers.status().flatMap((link) => (link.connected ? [link.member] : []));
}

export class SteppingDown {
  #done: (() => void) | null = null;

  /** Resolves when there is nothing to wait for any more, see `look`, and after `atMostMs` in any case. The caller has let the replica step down. */
  wait(atMostMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => { this.#done?.(); }, atMostMs);
      this.#done = () => {
        this.#done = null;
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /** After each turn. */
  look(replica: Replica, peers: PeerLinks): void {
    if (this.#done === null) return;
    // In a view again: as the backup of whoever leads now.
    if (replica.phase === 'normal' || !canElect(replica, connected(peers))) this.#done();
  }
}

/** When a whole group is told to end, the others may have gone already. */
function canElect(replica: Replica, reached: readonly number[]): boolean {
  return 1 + replica.otherElectors.filter((id) => reached.includes(id)).length >= quorum(replica.configuration);
}
