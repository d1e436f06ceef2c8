/**
 * What members tell of their checkpoints (CheckpointNotice): which may be taken over and on whose word, and the comparison of roots,
 * which finds a replica whose state has gone astray.
 */
import { assert } from '../lib/assert.ts';
import { viewEpoch, type Digest, type Epoch, type MemberId, type OpNumber, type View } from '../lib/ids.ts';
import { memberOf } from './configuration.ts';
import type { CheckpointNotice } from './messages.ts';
import type { Replica } from './replica.ts';
import type { CheckpointId } from './superblock.ts';

/** Interval of CheckpointNotice. */
export const NOTICE_MS = 2000;
/** Checkpoints of a member whose roots are remembered for comparison. */
const REMEMBERED = 16;
/** Whoever has not been heard of after so long is not waited for. */
const ASK_MS = 300;

export class CheckpointNotices {
  readonly #r: Replica;
  /** The newest checkpoint that each peer told of. */
  readonly #offered = new Map<MemberId, CheckpointNotice>();
  readonly #ownRoots = new Map<OpNumber, Digest>();
  readonly #peerRoots = new Map<MemberId, Map<OpNumber, Digest>>();

  constructor(replica: Replica, state: CheckpointId | null) {
    this.#r = replica;
    if (state !== null) this.#ownRoots.set(state.op, state.root);
  }

  /** Who has left the group neither offers nor disputes anything any more. */
  startEpoch(): void {
    const { others } = this.#r;
    for (const id of this.#offered.keys()) if (!others.includes(id)) this.#offered.delete(id);
    for (const id of this.#peerRoots.keys()) if (!others.includes(id)) this.#peerRoots.delete(id);
  }

  /** The newest checkpoint that the member has told of; of this replica's own the one on disk. */
  offeredBy(member: MemberId): CheckpointId | undefined {
    if (member === this.#r.self) return this.#r.handOver.told;
    return this.#offered.get(member)?.checkpoint;
  }

  heard(from: MemberId, m: CheckpointNotice): void {
    this.note(from, m.checkpoint);
    this.#offered.set(from, m);
    this.#compare(m.checkpoint.op);
  }

  /** A checkpoint of which the member has told in whatever message. */
  note(from: MemberId, { op: at, root }: CheckpointId): void {
    const roots = this.#peerRoots.get(from) ?? new Map<OpNumber, Digest>();
    this.#peerRoots.set(from, roots);
    roots.set(at, root);
    for (const op of roots.keys()) {
      if (roots.size <= REMEMBERED) break;
      roots.delete(op);
    }
  }

  // --- which may be taken over -----------------------------------------------------------------------------------------

  /** The newest checkpoint that a peer is known to have, which may be taken over. */
  newest(): CheckpointId | null {
    return this.#offers().reduce<CheckpointId | null>((newest, offer) => (newest === null || offer.op > newest.op ? offer : newest), null);
  }

  /**
   * Checkpoints of peers of which something is heard. One of a later view than this replica's is no prefix of its log: that view has
   * to be entered first, unless the log will be what follows the state anyway.
   */
  #offers(): CheckpointId[] {
    const r = this.#r;
    const offers: CheckpointId[] = [];
    for (const [member, { view, checkpoint }] of this.#offered) {
      const isBeyond = view > r.view && r.phase !== 'transitioning' && !(r.phase === 'recovering' && r.handOver.fetching);
      if (!isBeyond && r.now - r.heardAt(member) <= NOTICE_MS * 2) offers.push(checkpoint);
    }
    return offers;
  }

  /** The latest view of this epoch that peers have told of; null: none. */
  latestView(epoch: Epoch): View | null {
    const views = [...this.#offered.values()].map(({ view }) => view).filter((view) => viewEpoch(view) === epoch);
    return views.reduce<View | null>((latest, view) => (latest === null || view > latest ? view : latest), null);
  }

  /** The newest checkpoint behind `target` that peers offer and that may be taken over as well. */
  beyond(target: CheckpointId, accept: (offer: CheckpointId) => boolean): CheckpointId | null {
    let newest: CheckpointId | null = null;
    for (const offer of this.#offers()) {
      if (offer.op > (newest ?? target).op && accept(offer)) newest = offer;
    }
    return newest;
  }

  /** The log behind it should be there still: whoever is furthest has not taken two since, or keeps more than the last two need, or as much as was asked for. */
  isFollowed(offer: CheckpointId): boolean {
    const { keeping, options } = this.#r;
    const kept = keeping.isAsked(offer.op) ? keeping.mostEntries : options.retainEntries;
    let furthest: OpNumber | null = null;
    let since = 0;
    for (const [member, { checkpoint }] of this.#offered) {
      if (furthest !== null && checkpoint.op <= furthest) continue;
      furthest = checkpoint.op;
      since = [...(this.#peerRoots.get(member)?.keys() ?? [])].filter((op) => op > offer.op).length;
    }
    return since < 2 || (furthest ?? 0) - offer.op <= kept;
  }

  /** Voters that have told of just this checkpoint. What observers tell makes no quorum: their states are nobody's promise. */
  tellers(target: CheckpointId): number {
    let count = 0;
    for (const [member, roots] of this.#peerRoots) if (roots.get(target.op) === target.root && this.#isVoter(member)) count++;
    return count;
  }

  /** In the present epoch or the one that begins. */
  #isVoter(id: MemberId): boolean {
    const { configuration, reconfiguration } = this.#r;
    return [configuration, reconfiguration.newest].some((c) => memberOf(c, id)?.role === 'voter');
  }

  isConfirmed(target: CheckpointId): boolean {
    return this.tellers(target) >= this.#r.quorum;
  }

  /** Enough are heard of, or may be in a moment, that have told nothing of it yet. */
  mayBeConfirmed(target: CheckpointId, waitingSince: number): boolean {
    const r = this.#r;
    const heardSince = r.now - waitingSince < ASK_MS ? -Infinity : r.now - NOTICE_MS;
    let possible = this.tellers(target);
    for (const id of r.reconfiguration.donors()) {
      if (this.#isVoter(id) && r.heardAt(id) >= heardSince && this.#peerRoots.get(id)?.get(target.op) === undefined) possible++;
    }
    return possible >= r.quorum;
  }

  /** A member that has told another root for the same op: a voter, or anybody where no voter has told this one. */
  disputing(target: CheckpointId): MemberId | null {
    const isAVoters = this.tellers(target) > 0;
    for (const [member, roots] of this.#peerRoots) {
      const root = roots.get(target.op);
      if (root !== undefined && root !== target.root && (!isAVoters || this.#isVoter(member))) return member;
    }
    return null;
  }

  // --- comparing roots -------------------------------------------------------------------------------------------------

  /** An own checkpoint. */
  remember(id: CheckpointId): void {
    this.#ownRoots.set(id.op, id.root);
    for (const op of this.#ownRoots.keys()) {
      if (this.#ownRoots.size <= REMEMBERED) break;
      this.#ownRoots.delete(op);
    }
    this.#compare(id.op);
  }

  /** Stops this replica when a quorum of voters has another root for the same checkpoint. */
  #compare(op: OpNumber): void {
    const own = this.#ownRoots.get(op);
    if (own === undefined) return;
    const others = new Map<Digest, number>();
    for (const [member, roots] of this.#peerRoots) {
      const root = roots.get(op);
      if (root === undefined || root === own) continue;
      if (memberOf(this.#r.configuration, member)?.role === 'voter') others.set(root, (others.get(root) ?? 0) + 1);
      this.#r.event('root-differs', { op });
    }
    for (const count of others.values()) {
      assert(count < this.#r.quorum, () => `the state of this replica has gone astray: at checkpoint ${op} a quorum has another root. Move the folder records of its data directory away and start it again: it then takes the state over from the others`);
    }
  }
}
