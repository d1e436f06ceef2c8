/**
 * Messages of clients that cannot be answered yet: the primary has not executed what it inherited, an epoch is ending, or it
 * is not certain to be the primary still. Each costs memory, and whoever sends them does not wait: so they are bounded in number and in
 * bytes, and what comes beyond is turned away with a reason, to come again. Nothing of it was done.
 */
import { unreachable } from '../lib/assert.ts';
import { sessionId } from '../lib/ids.ts';
import { encodedMembersBytes } from './configuration.ts';
import type { ClientRequest, ReplicaToClient } from './messages.ts';
import type { ConnectionId } from './ports.ts';

export interface Held {
  readonly connection: ConnectionId;
  readonly message: ClientRequest;
}

export const MAX_HELD_BYTES = 64 << 20;
/** When who was turned away may come again, milliseconds. */
export const RETRY_MS = 50;

export class HeldBack {
  readonly #maxCount: number;
  readonly #maxBytes: number;
  #held: Held[] = [];
  #bytes = 0;

  constructor(maxCount: number, maxBytes = MAX_HELD_BYTES) {
    this.#maxCount = maxCount;
    this.#maxBytes = maxBytes;
  }

  get length(): number {
    return this.#held.length;
  }

  /** False: there is no room for it; the caller turns it away. */
  push(held: Held): boolean {
    const bytes = bodyBytes(held.message);
    if (this.#held.length >= this.#maxCount || this.#bytes + bytes > this.#maxBytes) return false;
    this.#held.push(held);
    this.#bytes += bytes;
    return true;
  }

  /** All, for somebody to answer. */
  take(): readonly Held[] {
    const held = this.#held;
    this.#held = [];
    this.#bytes = 0;
    return held;
  }
}

/** Of whatever may be long in it; the rest is small, and the number bounds it. */
export function bodyBytes(message: ClientRequest): number {
  switch (message.type) {
    case 'request':
    case 'read': return message.body.length;
    case 'register': return Buffer.byteLength(message.name);
    case 'reconfigure': return encodedMembersBytes(message.members);
    case 'checkEpoch':
    case 'askInterval':
    case 'endSession': return 0;
    default: return unreachable(message);
  }
}

/** "Come again, because": null for a message that nobody waits for an answer to. */
export function busyAnswer(m: ClientRequest, reason: string): ReplicaToClient | null {
  const none = { session: sessionId(0), slot: 0, seq: 0, id: 0 };
  const reject = { type: 'reject', code: 'busy', reason, retryAfterMs: RETRY_MS } as const;
  switch (m.type) {
    case 'request': return { ...reject, session: m.session, slot: m.slot, seq: m.seq, id: 0 };
    case 'read': return { ...reject, ...none, id: m.id };
    case 'register': return { ...reject, ...none };
    case 'reconfigure':
    case 'checkEpoch':
    case 'askInterval': return { type: 'refused', nonce: m.nonce, code: 'busy', reason };
    // The session ends by itself when nothing more is heard of it.
    case 'endSession': return null;
    default: return unreachable(m);
  }
}
