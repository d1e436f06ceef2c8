/** When a primary gives up its view of its own accord: it hears no majority any more, its disk has stopped, or its process is about to end. */
import { view, type View } from '../lib/ids.ts';
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

  /** Another leads at once, instead of missing this one first. False: this is no primary, or nobody could take over. */
  stepDown(): boolean {
    const r = this.#r;
    if (!r.isPrimary || !r.normal.open || r.otherElectors.length === 0 || !this.hearsQuorum()) return false;
    this.#leave('steps-down', this.#nextHeard());
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

  /** The next view whose primary has been heard of late. */
  #nextHeard(): View {
    const { view: current, configuration, now, options, self } = this.#r;
    for (let v = current + 1; v < current + configuration.members.length; v++) {
      const { id } = primaryOf(configuration, view(v));
      if (id !== self && now - this.#r.heardAt(id) < options.viewChangeMs) return view(v);
    }
    return view(current + 1);
  }
}
