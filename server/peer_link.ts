/**
 * The connection to one other replica. Messages are best effort: while there is no connection, or the other side is too slow to
 * take what waits for it, they are dropped and counted; the protocol re-sends what matters. Memory stays bounded.
 */
import { connect, isIP, type Socket } from 'node:net';
import type { HostPort } from '../lib/address.ts';
import { encodeFrame } from '../lib/frame.ts';
import type { MemberId } from '../lib/ids.ts';
import { FramedSocket } from './framed_socket.ts';
import { decodePeerHello, decodeRefusal, encodePeerHello, encodeRefusal, isPing, PING, refusalOf } from './peer_handshake.ts';
import type { PeerPins } from './peer_pins.ts';
import type { LinkStatus } from './running_replica.ts';

/** What may wait for a peer, bytes. */
export const QUEUE_BYTES = 16 << 20;
const FIRST_RETRY_MS = 50;
const LAST_RETRY_MS = 500;
const CONNECT_TIMEOUT_MS = 2_000;
/** The same where a name has to be looked up first. */
const LOOKUP_TIMEOUT_MS = 5_000;
/** A ping after so much silence of this side; the end of the connection after so much of the other. */
export const PING_AFTER_MS = 1_000;
export const DEAD_AFTER_MS = 6_000;
const DIAL_ANYWAY_MS = 3_000;
/** The other side may have dialled before it heard of this side's connection, as long as that is no older; by then it has given up its own. */
const CROSSING_MS = 2_000;
/** To be told who is there: the other side may hold this side's connection for as long as that, and looks at it twice a second. */
const ANSWER_TIMEOUT_MS = CROSSING_MS + 3_000;
const ANEW = 'the peer has connected anew';

export interface PeerLinkContext {
  readonly clusterId: Buffer;
  readonly self: MemberId;
  readonly instance: Buffer;
  readonly pins: Pick<PeerPins, 'refusal'>;
  /** A payload from the peer, behind the handshake; returns why the link has to end, or null. */
  onPayload(from: MemberId, payload: Buffer): string | null;
  /** All payloads of one read have been handled. */
  onRead(): void;
  /** Something waits to be written at the end of the turn. */
  onQueued(link: PeerLink): void;
  onConnected(member: MemberId): void;
  /** `reason` null: in order. Repeated failures of the same kind are told once. */
  onDisconnected(member: MemberId, reason: string | null): void;
  /** The other side will not have this one; `onDisconnected` follows, and the next attempt. */
  onRefused(member: MemberId, reason: string): void;
}

export class PeerLink {
  readonly member: MemberId;
  /** Null: a guest, which only it can dial. */
  readonly #address: HostPort | null;
  readonly #context: PeerLinkContext;
  readonly #dials: boolean;
  #framed: FramedSocket | null = null;
  /** The own connection that has not come through the handshake. */
  #dialling: FramedSocket | null = null;
  /** The other side's, where both have dialled: it is answered if the own one fails, or if it is still there after a while. */
  #crossing: { readonly framed: FramedSocket; readonly since: number } | null = null;
  /** Since when there is a connection that this side has dialled; null: it is the other side's, or there is none. */
  #ownSince: number | null = null;
  #outbox: Buffer[] = [];
  #outboxBytes = 0;
  #retryMs = FIRST_RETRY_MS;
  #retryTimer: NodeJS.Timeout | null = null;
  #stopped = false;
  #lastFailure: string | null = null;
  #aloneSince: number | null = null;
  #dropped = 0;
  #sentBefore = 0;
  #receivedBefore = 0;

  /** The member with the lower id goes on dialling, so that a pair has one connection. */
  constructor(member: MemberId, address: HostPort | null, context: PeerLinkContext) {
    this.member = member;
    this.#address = address;
    this.#context = context;
    this.#dials = address !== null && context.self < member;
  }

  get connected(): boolean {
    return this.#framed !== null;
  }

  /** Dials whatever the ids: the other side does not know that this one is here now, and may wait for the time of its next attempt. */
  start(): void {
    this.#dial();
  }

  /** A whole frame; written at the end of the turn, or dropped. */
  send(frame: Buffer): void {
    const framed = this.#framed;
    if (framed === null || framed.backlog + this.#outboxBytes + frame.length > QUEUE_BYTES) {
      this.#dropped++;
      return;
    }
    if (this.#outbox.length === 0) this.#context.onQueued(this);
    this.#outbox.push(frame);
    this.#outboxBytes += frame.length;
  }

  flush(): void {
    if (this.#outbox.length === 0) return;
    const frames = this.#outbox;
    this.#outbox = [];
    this.#outboxBytes = 0;
    this.#framed?.write(frames);
  }

  /** Called now and then: keeps an idle connection alive, ends a dead one. */
  watch(now: number): void {
    // The other side would have given it up if it had heard of this side's.
    if (this.#crossing !== null && now - this.#crossing.since > CROSSING_MS) this.#answerCrossing();
    const framed = this.#framed;
    if (framed === null) {
      // The other one should dial. It may not know of this one: it was away while the members changed, or this one was.
      this.#aloneSince ??= now;
      if (!this.#dials && now - this.#aloneSince > DIAL_ANYWAY_MS) {
        this.#aloneSince = now;
        this.#dial();
      }
      return;
    }
    this.#aloneSince = null;
    if (now - framed.lastReceived > DEAD_AFTER_MS) framed.destroy(`nothing came for ${Math.round((now - framed.lastReceived) / 1000)} s`);
    else if (now - framed.lastSent > PING_AFTER_MS) framed.write([encodeFrame(PING)]);
  }

  /**
   * A connection on which the peer has said hello. It is taken over, the answer goes out here, and an older connection ends; but where both sides have dialled at once that
   * of the lower id stays, so that they do not end each other's: the other side gives up this one when it hears of that.
   */
  accept(framed: FramedSocket): void {
    if (!this.#dials || !this.#crosses()) {
      this.#answer(framed);
      return;
    }
    this.#crossing?.framed.destroy(ANEW);
    this.#crossing = { framed, since: performance.now() };
    framed.handle(() => 'it goes on before it was answered', PING.length);
  }

  /** Whether the other side may have dialled before it has heard of this side's connection. As long as that only begins nothing has been said on it: it can be given up. */
  #crosses(): boolean {
    if (this.#dialling !== null) return !this.#dialling.socket.connecting;
    return this.#ownSince !== null && performance.now() - this.#ownSince < CROSSING_MS;
  }

  /** False: there is none. */
  #answerCrossing(): boolean {
    const crossing = this.#crossing;
    if (crossing === null) return false;
    this.#crossing = null;
    this.#answer(crossing.framed);
    return true;
  }

  #answer(framed: FramedSocket): void {
    const { clusterId, self, instance } = this.#context;
    const own = this.#dialling;
    this.#dialling = null;
    own?.destroy('the other side has dialled');
    // Older than this one.
    this.#crossing?.framed.destroy(ANEW);
    this.#crossing = null;
    framed.write([encodeFrame(encodePeerHello({ clusterId, from: self, to: this.member, instance }))]);
    this.#establish(framed);
  }

  /** A connection of this link has ended. */
  lost(framed: FramedSocket, reason: string | null): void {
    if (this.#crossing?.framed === framed) this.#crossing = null;
    if (this.#framed !== framed) return;
    this.#forget(framed, reason);
    if (!this.#stopped && !this.#answerCrossing() && this.#dials) this.#retry();
  }

  #forget(framed: FramedSocket, reason: string | null): void {
    this.#sentBefore += framed.sentBytes;
    this.#receivedBefore += framed.receivedBytes;
    this.#framed = null;
    this.#ownSince = null;
    this.#outbox = [];
    this.#outboxBytes = 0;
    if (!this.#stopped) this.#context.onDisconnected(this.member, reason);
  }

  stop(): void {
    this.#stopped = true;
    this.#stopRetrying();
    this.flush();
    this.#dialling?.destroy('stopped');
    this.#crossing?.framed.destroy('stopped');
    this.#framed?.finish();
  }

  status(): Omit<LinkStatus, 'refused'> {
    return {
      member: this.member,
      connected: this.connected,
      queuedBytes: this.#outboxBytes + (this.#framed?.backlog ?? 0),
      sentBytes: this.#sentBefore + (this.#framed?.sentBytes ?? 0),
      receivedBytes: this.#receivedBefore + (this.#framed?.receivedBytes ?? 0),
      dropped: this.#dropped,
    };
  }

  readonly #onPayload = (payload: Buffer): string | null => {
    if (isPing(payload)) return null;
    return this.#refused(payload) ?? this.#context.onPayload(this.member, payload);
  };

  #refused(payload: Buffer): string | null {
    const reason = decodeRefusal(payload);
    if (reason === null) return null;
    this.#context.onRefused(this.member, reason);
    return `refused: ${reason}`;
  }

  #establish(framed: FramedSocket): void {
    const old = this.#framed;
    if (old !== null) {
      this.#forget(old, ANEW);
      old.destroy(ANEW);
    }
    this.#stopRetrying();
    this.#framed = framed;
    this.#retryMs = FIRST_RETRY_MS;
    this.#lastFailure = null;
    framed.handle(this.#onPayload);
    this.#context.onConnected(this.member);
  }

  #dial(): void {
    const address = this.#address;
    if (this.#stopped || address === null || this.#framed !== null || this.#dialling !== null) return;
    const { clusterId, self, instance } = this.#context;
    const socket: Socket = connect({ host: address.host, port: address.port, noDelay: true });
    const framed: FramedSocket = new FramedSocket(socket, (payload) => this.#onAnswer(framed, payload), {
      onRead: () => { this.#context.onRead(); },
      onClosed: (reason) => { this.#onDialledClosed(framed, reason); },
    });
    this.#dialling = framed;
    socket.setTimeout(isIP(address.host) === 0 ? LOOKUP_TIMEOUT_MS : CONNECT_TIMEOUT_MS, () => { framed.destroy(`no answer within ${socket.timeout ?? 0} ms`); });
    socket.once('connect', () => {
      socket.setTimeout(ANSWER_TIMEOUT_MS);
      framed.write([encodeFrame(encodePeerHello({ clusterId, from: self, to: this.member, instance }))]);
    });
  }

  #onAnswer(framed: FramedSocket, payload: Buffer): string | null {
    const refused = this.#refused(payload);
    if (refused !== null) return refused;
    const hello = decodePeerHello(payload);
    if (!hello.ok) return hello.reason;
    const { clusterId, self, pins } = this.#context;
    const refusal = refusalOf(hello.value, { clusterId, self, isPeer: (id) => id === this.member, pins });
    if (refusal !== null) {
      // It has to hear why: what is wrong is on its side.
      framed.write([encodeFrame(encodeRefusal(refusal))]);
      framed.end(refusal);
      return null;
    }
    framed.socket.setTimeout(0);
    this.#dialling = null;
    this.#establish(framed);
    this.#ownSince = performance.now();
    return null;
  }

  #onDialledClosed(framed: FramedSocket, reason: string | null): void {
    if (this.#dialling !== framed) {
      this.lost(framed, reason);
      return;
    }
    this.#dialling = null;
    if (this.#stopped) return;
    if (this.#answerCrossing()) return;
    const failure = reason ?? 'the other side closed the connection before it said who it is';
    if (failure !== this.#lastFailure) this.#context.onDisconnected(this.member, failure);
    this.#lastFailure = failure;
    if (this.#dials) this.#retry();
  }

  /** Back-off with jitter, so that replicas which lost each other do not meet in step. */
  #retry(): void {
    if (this.#stopped) return;
    this.#stopRetrying();
    this.#retryTimer = setTimeout(() => { this.#dial(); }, this.#retryMs * (0.5 + Math.random()));
    this.#retryMs = Math.min(this.#retryMs * 2, LAST_RETRY_MS);
  }

  #stopRetrying(): void {
    if (this.#retryTimer !== null) clearTimeout(this.#retryTimer);
    this.#retryTimer = null;
  }
}
