/**
 * The connections to the other replicas, and the bytes of their messages: a frame around an envelope and a message,
 * encoded once however many it goes to.
 */
import { parseDestination } from '../lib/address.ts';
import { decodeAll, EMPTY, Writer } from '../lib/bytes.ts';
import { encodeFrame, encodeFrameOf } from '../lib/frame.ts';
import type { MemberId } from '../lib/ids.ts';
import type { Member } from '../vr/configuration.ts';
import { decodeEnvelope, encodeEnvelope, encodeMessage, ENVELOPE_BYTES, readMessage } from '../vr/message_codec.ts';
import type { Envelope, Message, ReplicaMessage } from '../vr/messages.ts';
import type { FramedSocket } from './framed_socket.ts';
import { decodePeerHello, encodeRefusal, refusalOf } from './peer_handshake.ts';
import type { PeerPins } from './peer_pins.ts';
import { PeerLink, type PeerLinkContext } from './peer_link.ts';
import type { LinkStatus } from './running_replica.ts';

/** How often connections are looked after, milliseconds. */
const WATCH_MS = 500;
const MAX_GUESTS = 32;

export interface PeerLinksOptions {
  readonly clusterId: Buffer;
  readonly self: MemberId;
  /** Of the own data directory. */
  readonly instance: Buffer;
  readonly pins: Pick<PeerPins, 'refusal'>;
  /** What this replica's messages are sent under; the same object as long as it is the same. */
  readonly envelope: () => Envelope;
  readonly onMessage: (from: Envelope, message: ReplicaMessage, bytes: number) => void;
  /** An input has come, or something waits to be sent: the turn has to be ended by `flush`. */
  readonly requestTurn: () => void;
  readonly onConnected: (member: MemberId) => void;
  readonly onDisconnected: (member: MemberId, reason: string | null) => void;
  readonly onRefused: (member: MemberId, reason: string) => void;
}

const CLIENT_MESSAGES: ReadonlySet<Message['type']> = new Set([
  'hello', 'welcome', 'register', 'registered', 'request', 'reply', 'read', 'readReply', 'redirect', 'reject',
  'endSession', 'reconfigure', 'checkEpoch', 'newEpoch', 'refused', 'askInterval', 'interval',
] as const);

function isReplicaMessage(m: Message): m is ReplicaMessage {
  return !CLIENT_MESSAGES.has(m.type);
}

function refuse(framed: FramedSocket, reason: string): string {
  framed.write([encodeFrame(encodeRefusal(reason))]);
  return reason;
}

export class PeerLinks {
  readonly #options: PeerLinksOptions;
  readonly #context: PeerLinkContext;
  #started = false;
  readonly #links = new Map<MemberId, PeerLink>();
  /** Of the same cluster, and not known here: one that was away while the members changed, or one that has left. They are told where the group is. */
  readonly #guests = new Map<MemberId, PeerLink>();
  #dirty: PeerLink[] = [];
  #watchTimer: NodeJS.Timeout | null = null;
  #lastWatch = 0;
  #envelope: Envelope | null = null;
  #envelopeBytes = EMPTY;

  constructor(options: PeerLinksOptions) {
    this.#options = options;
    this.#context = {
      clusterId: options.clusterId,
      self: options.self,
      instance: options.instance,
      pins: options.pins,
      onPayload: (from: MemberId, payload: Buffer) => this.#onPayload(from, payload),
      onRead: options.requestTurn,
      onQueued: (link: PeerLink) => {
        if (this.#dirty.push(link) === 1) options.requestTurn();
      },
      onConnected: options.onConnected,
      onDisconnected: (member, reason) => {
        this.#guests.delete(member);
        options.onDisconnected(member, reason);
      },
      onRefused: options.onRefused,
    };
  }

  /** Whom there are connections with from now on. A member never changes its address: another address is another member. */
  setPeers(peers: readonly Member[]): void {
    const wanted = new Map(peers.filter((m) => m.id !== this.#options.self).map((m) => [m.id, m]));
    for (const [id, link] of this.#links) {
      if (wanted.has(id)) continue;
      link.stop();
      this.#links.delete(id);
    }
    for (const m of wanted.values()) {
      if (this.#links.has(m.id)) continue;
      this.#guests.get(m.id)?.stop();
      this.#guests.delete(m.id);
      const address = parseDestination(m.address);
      // No change makes such a member any more (vr/membership.ts); a group that has one goes on without dialling it.
      if (!address.ok) this.#options.onDisconnected(m.id, `it cannot be dialled: ${address.reason}. Replace it by a node that has an address: vrfs members replace ${m.id} <host:port>`);
      const link = new PeerLink(m.id, address.ok ? address.value : null, this.#context);
      this.#links.set(m.id, link);
      if (this.#started) link.start();
    }
  }

  start(): void {
    this.#started = true;
    for (const link of this.#links.values()) link.start();
    this.#lastWatch = performance.now();
    this.#watchTimer = setInterval(() => { this.#watch(); }, WATCH_MS);
  }

  send(to: MemberId, message: Message): void {
    this.#link(to)?.send(this.#frame(message));
  }

  broadcast(to: readonly MemberId[], message: Message): void {
    const frame = this.#frame(message);
    for (const id of to) this.#link(id)?.send(frame);
  }

  /** Writes what has gathered in this turn: once a connection. */
  flush(): void {
    if (this.#dirty.length === 0) return;
    const dirty = this.#dirty;
    this.#dirty = [];
    for (const link of dirty) link.flush();
  }

  /** The first payload of a connection that another replica has opened. Returns the link that took it over, or why not; the reason has been told. */
  accept(framed: FramedSocket, payload: Buffer): PeerLink | string {
    const { clusterId, self, pins } = this.#options;
    const hello = decodePeerHello(payload);
    const isPeer = (id: MemberId): boolean => id !== self && (this.#link(id) !== undefined || this.#guests.size < MAX_GUESTS);
    if (!hello.ok) return refuse(framed, hello.reason);
    const refusal = refusalOf(hello.value, { clusterId, self, isPeer, pins });
    if (refusal !== null) return refuse(framed, refusal);
    const { from } = hello.value;
    const link = this.#link(from) ?? new PeerLink(from, null, this.#context);
    link.accept(framed);
    // Not before: a guest is forgotten with its older connection, which ends in there.
    if (!this.#links.has(from)) this.#guests.set(from, link);
    return link;
  }

  #link(id: MemberId): PeerLink | undefined {
    return this.#links.get(id) ?? this.#guests.get(id);
  }

  stop(): void {
    for (const link of this.#guests.values()) link.stop();
    if (this.#watchTimer !== null) clearInterval(this.#watchTimer);
    for (const link of this.#links.values()) link.stop();
  }

  status(): Omit<LinkStatus, 'refused'>[] {
    return [...this.#links.values()].map((link) => link.status());
  }

  #frame(message: Message): Buffer {
    const envelope = this.#options.envelope();
    if (envelope !== this.#envelope) {
      const w = new Writer(ENVELOPE_BYTES);
      encodeEnvelope(w, envelope);
      this.#envelope = envelope;
      this.#envelopeBytes = w.finish();
    }
    return encodeFrameOf([this.#envelopeBytes, encodeMessage(message)]);
  }

  #onPayload(from: MemberId, payload: Buffer): string | null {
    const decoded = decodeAll(payload, (r) => ({ envelope: decodeEnvelope(r), message: readMessage(r) }));
    if (!decoded.ok) return `a message that cannot be read: ${decoded.reason}`;
    const { envelope, message } = decoded.value;
    if (envelope.sender !== from) return `a message of member ${envelope.sender} on the link of member ${from}`;
    if (!isReplicaMessage(message)) return `a client's message (${message.type}) on a link of replicas`;
    this.#options.onMessage(envelope, message, payload.length);
    return null;
  }

  #watch(): void {
    const now = performance.now();
    const late = now - this.#lastWatch > 4 * WATCH_MS;
    this.#lastWatch = now;
    // This process itself was stopped or held up: what the others sent meanwhile has not been read yet.
    if (late) return;
    for (const link of this.#links.values()) link.watch(now);
    for (const link of this.#guests.values()) link.watch(now);
  }
}
