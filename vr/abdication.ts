/** When a primary gives up its view of its own accord: it hears no majority any more, its disk has stopped, or its process is about to end. */
import { view, type MemberId, type View } from '../lib/ids.ts';
import { primaryOf } from './configuration.ts';
import type { Replica } from './replica.ts';

export class Abdication {
  readonly #r: Replica;

  constructor(replica: Replica) {
    this.#r = replica;
  }

  /** Of the primary of an open view. */
  tick(): void {
    const r = this.#r;
    if (!this.hearsQuorum()) this.#leave('abdicated', r.view + 1);
    // A primary whose disk has stopped writes nothing more, and the group waits for it with each view change and checkpoint.
    else if (r.persistence.stalledFor >= r.options.diskStallMs) this.#leave('disk-stalled', r.view + 1);
  }

  /** Another leads at once, instead of missing this one first. False: this is no primary, or nobody that it reaches could take over. */
  stepDown(reaches: (member: MemberId) => boolean): boolean {
    const r = this.#r;
    if (!r.isPrimary || !r.normal.open || !this.hearsQuorum()) return false;
    const next = this.#successor(reaches);
    if (next === null) return false;
    this.#leave('steps-down', next);
    return true;
  }

  #leave(event: string, next: number): void {
    const r = this.#r;
    r.event(event, { view: r.view });
    r.viewChange.leaveFor(next);
  }

  /**
   * Row 22: a primary that does not hear from a quorum must stop to send heart-beats that keep the others loyal. Any message
   * is a sign of life: a backup that still fetches the view's log has nothing to acknowledge.
   */
  hearsQuorum(): boolean {
    const r = this.#r;
    let heard = 1;
    for (const id of r.otherElectors) if (r.now - Math.max(r.heardAt(id), r.normal.openedAt) < r.options.viewChangeMs * 2) heard++;
    return heard >= r.quorum;
  }

  /** The next view whose primary can begin it at once: it is there, and has all that is committed; or else the one whose primary has the most of the log. Null: nobody is there. */
  #successor(reaches: (member: MemberId) => boolean): View | null {
    const { view: current, configuration, now, commit, options, self, normal } = this.#r;
    let best: { readonly view: View; readonly acked: number } | null = null;
    for (let v = current + 1; v < current + configuration.members.length; v++) {
      const { id } = primaryOf(configuration, view(v));
      if (id === self || !reaches(id) || now - this.#r.heardAt(id) >= options.viewChangeMs) continue;
      const acked = normal.acked(id) ?? 0;
      if (acked >= commit) return view(v);
      if (best === null || acked > best.acked) best = { view: view(v), acked };
    }
    return best?.view ?? null;
  }
}
