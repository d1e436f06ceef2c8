/** A client that says exactly what a story needs: one message to one node, no retries of its own. */
import { assert, defined } from '../../lib/assert.ts';
import { opNumber, sessionId, type SessionId } from '../../lib/ids.ts';
import type { Message, Read, Reply } from '../../vr/messages.ts';
import type { Cluster } from './cluster.ts';
import type { Node } from './node.ts';

let connections = 0;

export class TestClient {
  readonly cluster: Cluster;
  readonly connection = ++connections;
  readonly nonce: Buffer;
  session: SessionId = sessionId(0);
  readonly #seqs = new Map<number, number>();

  constructor(cluster: Cluster) {
    this.cluster = cluster;
    this.nonce = cluster.random.bytes(16);
  }

  get replies(): Message[] {
    return this.cluster.replies.filter((r) => r.connection === this.connection).map((r) => r.message);
  }
  replyTo(slot: number, seq: number): Reply | undefined {
    return this.replies.find((m) => m.type === 'reply' && m.slot === slot && m.seq === seq) as Reply | undefined;
  }

  sendRegister(to: Node, name = 'test'): void {
    to.replica.receive(this.connection, { type: 'register', nonce: this.nonce, flags: 0, name });
  }
  /** Registers at the present leader. */
  register(): this {
    const leader = this.cluster.untilServing();
    this.sendRegister(leader);
    const answer = (): Message | undefined => this.replies.find((m) => m.type === 'registered');
    this.cluster.until(() => answer() !== undefined, 'a session');
    const registered = defined(answer(), 'answer');
    assert(registered.type === 'registered', 'found as such');
    this.session = registered.session;
    return this;
  }

  send(to: Node, slot: number, seq: number, body: string | Buffer): void {
    to.replica.receive(this.connection, { type: 'request', session: this.session, slot, seq, body: Buffer.from(body) });
  }
  /** The next request of a slot, sent to `to`; not awaited. Returns its seq. */
  post(to: Node, body: string | Buffer, slot = 0): number {
    const seq = (this.#seqs.get(slot) ?? 0) + 1;
    this.#seqs.set(slot, seq);
    this.send(to, slot, seq, body);
    return seq;
  }
  /** The next request of a slot at the present leader, until it is answered. */
  write(body: string | Buffer, slot = 0): Reply {
    const seq = this.post(this.cluster.untilServing(), body, slot);
    this.cluster.until(() => this.replyTo(slot, seq) !== undefined, `a reply to ${body.toString().slice(0, 40)}`);
    return defined(this.replyTo(slot, seq), 'reply');
  }
  read(to: Node, id: number, body: string, options: Partial<Pick<Read, 'consistency' | 'maxStalenessMs'>> & { readonly minOp?: number } = {}): void {
    const { consistency = 'linearizable', minOp = 0, maxStalenessMs = 0 } = options;
    to.replica.receive(this.connection, { type: 'read', id, consistency, minOp: opNumber(minOp), maxStalenessMs, body: Buffer.from(body) });
  }
}
