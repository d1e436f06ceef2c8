/**
 * A client's session, from its registration to its end: none → registering → live → ending → none. Which requests it carries is
 * not known here; whoever carries them says when the last of a session that ends is done.
 */
import { assert } from '../lib/assert.ts';
import type { SessionId } from '../lib/ids.ts';
import type { ClientPace } from './client_pace.ts';
import type { ClientRoute } from './client_route.ts';
import type { ClientOptions, ClientPorts, PutOff } from './client_types.ts';
import type { Registered } from './messages.ts';

type SessionState =
  | { readonly kind: 'none' }
  | { readonly kind: 'registering'; readonly nonce: Buffer; due: number; sends: number; postponed: boolean }
  | { readonly kind: 'live'; readonly id: SessionId; readonly timeoutMs: number }
  /** The group has said that it knows the session no more; what is under way still gets its own answer, or none. */
  | { readonly kind: 'ending'; readonly id: SessionId };

/** How often another than the presumed primary must deny the session before it is believed: it may merely be behind. */
const STRAY_DENIALS = 3;

/** Told what follows from a registration. */
interface Listener {
  /** Something has to be done next. */
  deadline(at: number): void;
  /** What was heard last in place of an answer; null: an answer, or nothing. */
  heard(putOff: PutOff | null): void;
}

export class ClientRegistration {
  readonly #ports: Pick<ClientPorts<unknown>, 'bytes' | 'send'>;
  readonly #route: ClientRoute;
  readonly #pace: ClientPace;
  readonly #options: Pick<ClientOptions, 'flags' | 'name'>;
  readonly #listener: Listener;
  #state: SessionState = { kind: 'none' };
  #strayDenials = 0;
  /** When the session last proved to be alive. */
  #aliveAt: number;

  constructor(ports: Pick<ClientPorts<unknown>, 'bytes' | 'send'>, route: ClientRoute, pace: ClientPace, options: Pick<ClientOptions, 'flags' | 'name'>, listener: Listener, now: number) {
    this.#ports = ports;
    this.#route = route;
    this.#pace = pace;
    this.#options = options;
    this.#listener = listener;
    this.#aliveAt = now;
  }

  /** The session that requests can be sent in; null: there is none now. */
  get session(): SessionId | null {
    return this.#state.kind === 'live' ? this.#state.id : null;
  }
  get isUnderWay(): boolean {
    return this.#state.kind === 'registering';
  }
  /** Nothing is sent in it any more. */
  get isEnding(): boolean {
    return this.#state.kind === 'ending';
  }
  /** When to ask for a session again. */
  get due(): number {
    return this.#state.kind === 'registering' ? this.#state.due : Infinity;
  }

  /** An answer that names this session is to what is under way. */
  isOf(session: SessionId): boolean {
    return (this.#state.kind === 'live' || this.#state.kind === 'ending') && this.#state.id === session;
  }

  /** The session will end unless something is submitted soon. */
  isFading(now: number): boolean {
    return this.#state.kind === 'live' && now - this.#aliveAt >= this.#state.timeoutMs / 3;
  }

  /** Asks for a session, unless there is one or it is being asked for. */
  begin(now: number): void {
    if (this.#state.kind !== 'none') return;
    // A nonce of its own for each session: with the old one, the group would find the old session.
    this.#state = { kind: 'registering', nonce: this.#ports.bytes(16), due: now, sends: 0, postponed: false };
    this.#send(now);
  }

  tick(now: number): void {
    if (this.#state.kind === 'registering' && this.#state.due <= now) this.#send(now);
  }

  /** The primary is another, or can be reached again. */
  onMoved(now: number): void {
    if (this.#state.kind !== 'registering') return;
    this.#state.sends = 0;
    this.#send(now);
  }

  /** A connection was lost: at this time at the latest it is asked again. */
  onDisconnected(soon: number): void {
    if (this.#state.kind === 'registering') this.#state.due = Math.min(this.#state.due, soon);
  }

  #send(now: number): void {
    const s = this.#state;
    assert(s.kind === 'registering', 'a registration is under way');
    const message = { type: 'register', nonce: s.nonce, flags: this.#options.flags, name: this.#options.name } as const;
    if (s.postponed) s.postponed = false;
    else if (s.sends > 0) this.#listener.heard(null);
    this.#ports.send(this.#route.primary, message);
    if (s.sends > 0) {
      for (const peer of this.#route.peers) if (peer !== this.#route.primary) this.#ports.send(peer, message);
    }
    s.due = now + this.#pace.backOff(s.sends);
    s.sends++;
    this.#listener.deadline(s.due);
  }

  /** True: the session that was asked for is live. */
  onRegistered(m: Registered, now: number): boolean {
    const s = this.#state;
    if (s.kind !== 'registering' || !s.nonce.equals(m.nonce) || m.slots === 0) return false;
    this.#state = { kind: 'live', id: m.session, timeoutMs: m.timeoutMs };
    this.onAlive(now);
    return true;
  }

  /** Not now: asked again when the replica wants it. */
  onPutOff(putOff: PutOff, now: number): void {
    const s = this.#state;
    if (s.kind !== 'registering') return;
    this.#listener.heard(putOff);
    s.postponed = true;
    s.due = now + this.#pace.afterRegistrationPutOff(putOff.retryAfterMs);
    this.#listener.deadline(s.due);
  }

  /** The group gives no session to what this client says of itself. True: that is the answer to what was asked. */
  onRefused(): boolean {
    if (this.#state.kind !== 'registering') return false;
    this.#state = { kind: 'none' };
    return true;
  }

  /** A request of the session was answered. */
  onAlive(now: number): void {
    this.#aliveAt = now;
    this.#strayDenials = 0;
    this.#listener.heard(null);
  }

  /** `from` says that the group does not know the session (any more). True: it is believed, and the session ends. */
  onDenied(from: string): boolean {
    const s = this.#state;
    assert(s.kind === 'live' || s.kind === 'ending', 'a request under way has a session');
    if (s.kind === 'live' && from !== this.#route.primary && ++this.#strayDenials < STRAY_DENIALS) return false;
    this.#state = { kind: 'ending', id: s.id };
    return true;
  }

  /** It can carry nothing any more. */
  onUsedUp(): void {
    if (this.#state.kind === 'live') this.#state = { kind: 'ending', id: this.#state.id };
  }

  /** Nothing is under way in the session that ends. */
  onIdle(): void {
    assert(this.#state.kind === 'ending', 'a session that ends');
    this.#state = { kind: 'none' };
  }
}
