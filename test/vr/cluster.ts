/**
 * A few replicas in virtual time, for stories of a page: one message, one write, one crash at a time. Nothing is random
 * but the replicas' jitter (seeded). Messages cross as bytes, so that the codecs take part. The large simulator with its
 * faults is in test/sim.
 *
 *   cluster.hold = (m) => …   messages that match stay in `held` until release() or discard()
 *   cluster.drop = (m) => …   messages that match are lost
 *   cluster.run(ms), cluster.until(condition)
 *   node.crash(), node.start(), node.paused, node.slowJournal, node.slowSuperblock, node.slowCheckpoint, node.failFetch
 */
import { assert, defined } from '../../lib/assert.ts';
import { memberId, view, type MemberId, type View } from '../../lib/ids.ts';
import { Prng } from '../../lib/prng.ts';
import { isMember, primaryOf, type Configuration, type Durability } from '../../vr/configuration.ts';
import { decodeMessage, encodeMessage } from '../../vr/message_codec.ts';
import type { Envelope, Message, ReplicaMessage } from '../../vr/messages.ts';
import type { ConnectionId } from '../../vr/ports.ts';
import { DEFAULT_REPLICA_OPTIONS, type ReplicaOptions } from '../../vr/replica_types.ts';
import { testConfiguration } from './group.ts';
import { Node, type Founding } from './node.ts';

export interface Packet {
  readonly from: MemberId;
  readonly envelope: Envelope;
  readonly to: MemberId;
  readonly bytes: Buffer;
  readonly message: ReplicaMessage;
}
export type Matcher = (p: Packet) => boolean;
export interface ClientReply { readonly node: number; readonly connection: ConnectionId; readonly message: Message }

export const NOTHING: Matcher = () => false;
export const EVERYTHING: Matcher = () => true;

const TICK_MS = 10;
/** Turns of the loop within one tick; more mean that something goes round for ever. */
const MAX_TURNS = 500;

export interface ClusterOptions {
  readonly members?: number;
  /** So many of them, the last. */
  readonly witnesses?: number;
  readonly durability?: Durability;
  readonly seed?: number;
  readonly replica?: Partial<ReplicaOptions>;
  /** Instead of members of a new group. */
  readonly founding?: Founding;
}

export class Cluster {
  readonly configuration: Configuration;
  readonly founding: Founding | null;
  readonly options: ReplicaOptions;
  readonly nodes: Node[];
  readonly replies: ClientReply[] = [];
  /** Which view, of which epoch, a replica told its clients of, without being asked. */
  readonly welcomes: { readonly node: number; readonly epoch: number; readonly view: View }[] = [];
  readonly random: Prng;
  now = 0;
  /** Microseconds; moves with `now`. */
  wallOffset = 1_700_000_000_000_000;
  hold: Matcher = NOTHING;
  drop: Matcher = NOTHING;
  held: Packet[] = [];
  /** Every message that was sent, lost ones included. */
  readonly sent: Packet[] = [];
  #queue: Packet[] = [];

  constructor(options: ClusterOptions = {}) {
    this.founding = options.founding ?? null;
    this.configuration = options.founding?.configuration ?? testConfiguration(options.members ?? 3, options.durability, options.witnesses);
    this.options = { ...DEFAULT_REPLICA_OPTIONS, retainEntries: 0, ...options.replica };
    this.random = new Prng(options.seed ?? 1);
    this.nodes = this.configuration.members.map((m) => new Node(this, m.id));
    for (const node of this.nodes) node.start();
  }

  /** A node that was formatted for this group and is not a member yet. */
  join(id: number): Node {
    const node = new Node(this, memberId(id));
    this.nodes.push(node);
    node.start();
    return node;
  }

  /** The node at an index of the configuration: primary of the views v with v mod K = index. */
  node(index: number): Node {
    return defined(this.nodes[index], `node ${index}`);
  }
  byId(id: MemberId): Node {
    return defined(this.nodes.find((n) => n.id === id), `member ${id}`);
  }
  primaryOf(v: number): MemberId {
    return primaryOf(this.configuration, view(v)).id;
  }
  /** The one that leads the newest view. */
  get leader(): Node | undefined {
    return this.nodes.filter((n) => n.up && !n.paused && n.replica.normal.serving).sort((a, b) => b.replica.view - a.replica.view)[0];
  }

  // --- network ---------------------------------------------------------------------------------------------------------

  send(from: Node, to: MemberId, message: Message): void {
    const bytes = encodeMessage(message);
    const packet: Packet = { from: from.id, envelope: from.envelope, to, bytes, message: message as ReplicaMessage };
    this.sent.push(packet);
    if (this.drop(packet)) return;
    if (this.hold(packet)) this.held.push(packet);
    else this.#queue.push(packet);
  }

  deliver(p: Packet): void {
    const node = this.byId(p.to);
    if (!node.up || node.paused) return;
    const decoded = decodeMessage(p.bytes);
    assert(decoded.ok, 'a message that was encoded here');
    node.replica.step(p.envelope, decoded.value as ReplicaMessage);
  }

  /** What was held goes on its way, and nothing more is held. */
  release(): void {
    this.hold = NOTHING;
    this.#queue.push(...this.held);
    this.held = [];
  }
  discard(): void {
    this.held = [];
  }

  /** Cuts off both ways. */
  isolate(...ids: readonly MemberId[]): void {
    this.drop = (p) => ids.includes(p.from) !== ids.includes(p.to);
  }
  heal(): void {
    this.drop = NOTHING;
  }

  // --- time ------------------------------------------------------------------------------------------------------------

  /** One turn of every replica's loop: messages, completions, flush. False when nothing was to do. */
  turn(): boolean {
    const packets = this.#queue;
    this.#queue = [];
    for (const p of packets) this.deliver(p);
    let busy = packets.length > 0;
    for (const node of this.nodes) {
      if (!node.up || node.paused) continue;
      node.replica.flush();
      node.replica.execute();
    }
    for (const node of this.nodes) if (node.turn()) busy = true;
    return busy || this.#queue.length > 0;
  }

  settle(): void {
    for (let turns = 0; this.turn(); turns++) assert(turns < MAX_TURNS, 'messages go round without end');
  }

  tick(): void {
    this.now += TICK_MS;
    for (const node of this.nodes) if (node.up && !node.paused) node.replica.tick(this.now);
    this.settle();
  }

  run(ms: number): void {
    for (const end = this.now + ms; this.now < end; ) this.tick();
  }

  until(condition: () => boolean, what: string, ms = 20_000): void {
    for (const end = this.now + ms; !condition(); this.tick()) {
      if (this.now >= end) throw new Error(`not within ${ms} ms: ${what}\n${this.describe()}`);
    }
  }

  describe(): string {
    return this.nodes.map((n) => {
      if (!n.up) return `member ${n.id}: down`;
      const { status, view: v, logView, op, commit, executed } = n.replica.status();
      return `member ${n.id}: ${status} view ${v} log-view ${logView} op ${op} commit ${commit} executed ${executed} ready ${n.replica.execution.ready}`;
    }).join('\n');
  }

  /** Someone serves. */
  untilServing(ms = 20_000): Node {
    this.until(() => this.leader !== undefined, 'a primary that serves', ms);
    return defined(this.leader, 'leader');
  }

  /** All that are up are normal in one view with equal logs, all of it executed. */
  untilConverged(ms = 20_000): void {
    this.until(() => {
      const up = this.#members().map((n) => n.replica);
      const head = Math.max(...up.map((r) => r.log.head));
      const epoch = Math.max(...up.map((r) => r.configuration.epoch));
      return up.every((r) => r.phase === 'normal' && r.configuration.epoch === epoch && r.view === up[0]?.view && r.executed === head && r.execution.ready);
    }, 'convergence', ms);
    const up = this.#members().filter((n) => !n.replica.isWitness);
    const first = defined(up[0], 'a node that is up');
    for (const n of up) assert(n.table.equals(first.table), `the state of member ${n.id} differs from that of ${first.id}`);
  }

  #members(): Node[] {
    const newest = this.nodes.filter((n) => n.up).map((n) => n.replica.configuration).sort((a, b) => b.epoch - a.epoch)[0];
    return this.nodes.filter((n) => n.up && newest !== undefined && isMember(newest, n.id));
  }

  sentBy(id: MemberId, type: Message['type']): Packet[] {
    return this.sent.filter((p) => p.from === id && p.message.type === type);
  }
}
