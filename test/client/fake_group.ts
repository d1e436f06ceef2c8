/**
 * A group in this process that speaks the real frames over TCP: the namespace's state machine over a table in memory, executed by
 * whichever member leads. What it does to its clients (lose answers, move, hang, refuse) is up to the test.
 */
import { createServer, type Server, type Socket } from 'node:net';
import { decodeCall, encodeCall } from '../../fsservice/operation_codec.ts';
import type { Operation } from '../../fsservice/operations.ts';
import { FileSystemService } from '../../fsservice/service.ts';
import { defined } from '../../lib/assert.ts';
import { FrameBatch, FrameDecoder } from '../../lib/frame.ts';
import { ZERO_DIGEST } from '../../lib/hash.ts';
import { epoch, memberId, opNumber, sessionId, view } from '../../lib/ids.ts';
import { MemoryTable } from '../../lib/memory_table.ts';
import { isPeerHello } from '../../server/peer_handshake.ts';
import { configuration, primaryOf, type Configuration } from '../../vr/configuration.ts';
import { makeEntry, type EntryKind } from '../../vr/entry.ts';
import { decodeMessage, encodeMessage } from '../../vr/message_codec.ts';
import type { Message, Register, Request } from '../../vr/messages.ts';

interface Member {
  readonly server: Server;
  readonly sockets: Set<Socket>;
  readonly port: number;
}

export class FakeGroup {
  readonly table = new MemoryTable();
  readonly service = new FileSystemService(this.table);
  clusterId = Buffer.alloc(16, 7);
  configuration: Configuration = configuration(epoch(0), [{ id: memberId(1), role: 'voter' as const, address: '127.0.0.1:1', httpAddress: '127.0.0.1:2' }], 'disk');
  view = 0;
  op = 0;
  timeoutMs = 60_000;
  /** Null: answer nothing. Else what is answered in place of the group. Undefined: as usual. */
  intercept: (member: number, message: Message) => Message | null | undefined = () => undefined;
  /** Writes to a socket: more messages than writes when they are coalesced. */
  messages = 0;
  chunks = 0;
  readonly registrations: Register[] = [];
  readonly keepAlives: Request[] = [];
  readonly #members: Member[] = [];
  readonly #sessions = new Map<number, Map<number, { seq: number; reply: Message }>>();
  readonly #byNonce = new Map<string, number>();
  #time = Date.UTC(2026, 0, 1) * 1000;

  static async start(size = 3): Promise<FakeGroup> {
    const group = new FakeGroup();
    for (let i = 0; i < size; i++) group.#members.push(await group.#listen(i, 0));
    group.#configure();
    return group;
  }

  get servers(): string[] {
    return this.#members.map((m) => `127.0.0.1:${m.port}`);
  }
  /** Index of the member that leads. */
  get primary(): number {
    return this.servers.indexOf(primaryOf(this.configuration, view(this.view)).address);
  }

  async stop(): Promise<void> {
    for (let i = 0; i < this.#members.length; i++) await this.kill(i);
  }
  /** Its connections break, and it takes no new ones. */
  async kill(index: number): Promise<void> {
    const m = defined(this.#members[index], 'member');
    for (const s of m.sockets) s.destroy();
    await new Promise<void>((resolve) => { m.server.close(() => { resolve(); }); });
  }
  async restart(index: number): Promise<void> {
    this.#members[index] = await this.#listen(index, defined(this.#members[index], 'member').port);
  }
  endSessions(): void {
    this.#sessions.clear();
    this.#byNonce.clear();
  }

  /** An operation of somebody else, for root, between two messages of a client. */
  execute(operation: Operation): void {
    this.service.execute(this.#entry('request', 0, 0, 0, encodeCall({ credentials: { uid: 0, gid: 0, groups: [] }, operation })));
  }

  #configure(): void {
    this.configuration = configuration(epoch(0), this.servers.map((address, i) => ({ id: memberId(i + 1), role: 'voter' as const, address, httpAddress: `127.0.0.1:${i + 1}` })), 'disk');
  }

  #listen(index: number, port: number): Promise<Member> {
    const sockets = new Set<Socket>();
    const server = createServer((socket) => {
      sockets.add(socket);
      socket.on('close', () => sockets.delete(socket));
      socket.on('error', () => socket.destroy());
      this.#serve(index, socket);
    });
    return new Promise((resolve) => {
      server.listen(port, '127.0.0.1', () => {
        const address = server.address();
        resolve({ server, sockets, port: typeof address === 'object' && address !== null ? address.port : 0 });
      });
    });
  }

  #serve(index: number, socket: Socket): void {
    const decoder = new FrameDecoder();
    const batch = new FrameBatch();
    socket.on('data', (chunk: Buffer) => {
      this.chunks++;
      const reason = decoder.push(chunk, (payload) => {
        // A replica that starts dials its peers: there are none here.
        if (isPeerHello(payload)) return;
        this.messages++;
        const decoded = decodeMessage(payload);
        if (!decoded.ok) throw new Error(`the client sent what cannot be read: ${decoded.reason}`);
        const told = this.intercept(index, decoded.value);
        const answer = told === undefined ? this.#answer(index, decoded.value) : told;
        if (answer !== null) batch.add(encodeMessage(answer));
      });
      if (reason !== null) throw new Error(reason);
      for (const b of batch.take()) socket.write(b);
    });
  }

  #answer(index: number, m: Message): Message | null {
    switch (m.type) {
      case 'hello': return this.#welcome(index, m.clusterId);
      case 'read':
        if (m.consistency === 'linearizable' && index !== this.primary) break;
        return { type: 'readReply', id: m.id, op: opNumber(this.op), result: this.service.query(m.body, this.#time) };
      case 'register': return index === this.primary ? this.#register(m) : this.#redirect();
      case 'request': return index === this.primary ? this.#execute(m) : this.#redirect();
      default: throw new Error(`the client sent a '${m.type}'`);
    }
    return this.#redirect();
  }

  #welcome(index: number, wanted: Buffer): Message {
    const { clusterId } = this;
    if (!wanted.equals(Buffer.alloc(16)) && !wanted.equals(clusterId)) {
      return { type: 'reject', code: 'invalid', reason: `this replica belongs to group ${clusterId.toString('hex')}, not to ${wanted.toString('hex')}`, retryAfterMs: 0, session: sessionId(0), slot: 0, seq: 0, id: 0 };
    }
    return { type: 'welcome', view: view(this.view), configuration: this.configuration, self: memberId(index + 1), address: this.servers[index] ?? '', httpAddress: `127.0.0.1:${index + 1}`, clusterId };
  }

  #redirect(): Message {
    return { type: 'redirect', view: view(this.view), configuration: this.configuration };
  }

  #entry(kind: EntryKind, session: number, slot: number, seq: number, body: Buffer): ReturnType<typeof makeEntry> {
    this.op++;
    this.#time += 1000;
    return makeEntry({ kind, epoch: epoch(0), view: view(this.view), op: opNumber(this.op), time: this.#time, session: sessionId(session), slot, seq, body }, ZERO_DIGEST);
  }

  #register(m: Register): Message {
    const nonce = m.nonce.toString('hex');
    let session = this.#byNonce.get(nonce);
    if (session === undefined) {
      this.registrations.push(m);
      const entry = this.#entry('register', 0, 0, 0, Buffer.alloc(0));
      session = entry.op;
      this.#byNonce.set(nonce, session);
      this.#sessions.set(session, new Map());
      this.service.sessionStarted(entry, m.flags);
    }
    return { type: 'registered', nonce: m.nonce, session: sessionId(session), slots: 64, timeoutMs: this.timeoutMs };
  }

  #execute(m: Request): Message | null {
    const slots = this.#sessions.get(m.session);
    if (slots === undefined) return { type: 'reject', code: 'noSession', reason: 'no such session', retryAfterMs: 0, session: m.session, slot: m.slot, seq: m.seq, id: 0 };
    const last = slots.get(m.slot);
    if (last?.seq === m.seq) return last.reply;
    if (m.seq !== (last?.seq ?? 0) + 1) throw new Error(`slot ${m.slot}: ${m.seq} after ${last?.seq ?? 0}`);
    if (m.body[0] === 0x0f) this.keepAlives.push(m);
    const entry = this.#entry('request', m.session, m.slot, m.seq, m.body);
    const reply: Message = {
      type: 'reply', session: m.session, slot: m.slot, seq: m.seq, view: view(this.view), op: entry.op, result: this.service.execute(entry),
    };
    slots.set(m.slot, { seq: m.seq, reply });
    for (let body = this.service.housekeeping(); body !== undefined; body = this.service.housekeeping()) {
      this.service.execute(this.#entry('housekeeping', 0, 0, 0, body));
    }
    return reply;
  }
}

/** What a client asks for with a message; null when it asks for nothing of the file system. */
export function operationOf(m: Message): Operation | null {
  if (m.type !== 'read' && m.type !== 'request') return null;
  const decoded = decodeCall(m.body);
  if (!decoded.ok) throw new Error(`the client sent a call that cannot be read: ${decoded.reason}`);
  return decoded.value.operation;
}

/** Waits until `condition` holds, looking at every turn of the event loop; fails after `boundMs`. */
export async function until(condition: () => boolean, boundMs = 10_000): Promise<void> {
  const end = Date.now() + boundMs;
  while (!condition()) {
    if (Date.now() > end) throw new Error(`not within ${boundMs} ms: ${condition.toString()}`);
    await new Promise((resolve) => { setImmediate(resolve); });
  }
}
