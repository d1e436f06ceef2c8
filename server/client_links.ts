/**
 * The connections of clients. Replies of one turn leave in one write a connection, but those to reads in several, so that a client is busy with the
 * first of them while the others are made. A client that does not take its replies is not read from until it does; bad input is answered with a Reject
 * that says what was wrong, and ends the connection.
 */
import { START_ANEW } from '../client/group_pin.ts';
import { encodeFrame, FrameBatch } from '../lib/frame.ts';
import { sessionId } from '../lib/ids.ts';
import { decodeMessage, encodeMessage } from '../vr/message_codec.ts';
import type { ClientRequest, Hello, Message, Reject, Welcome } from '../vr/messages.ts';
import { MAX_BODY_BYTES } from '../vr/entry.ts';
import type { ConnectionId } from '../vr/ports.ts';
import type { FramedSocket } from './framed_socket.ts';
import { RequestMeter, RequestTimes } from './request_meter.ts';

/** Above this a connection is not read from until its client has taken what waits for it, bytes. */
export const PAUSE_BYTES = 1 << 20;
/** The longest message of a client: one operation, and what goes with it. */
const MESSAGE_BYTES = MAX_BODY_BYTES + 1024;
/** Above this it ends. */
export const BACKLOG_BYTES = 512 << 20;
/** Reads of one connection in one turn; the next ones wait until their answers have been written. A read is short, its answer up to 1 MiB. */
export const READS_PER_TURN = 256;
/**
 * When so many reads have been answered as they came, their answers leave, though the turn goes on: else the client has nothing to do while they are made, and the replica nothing
 * while the client looks at them (docs/PERFORMANCE.md, "Tried"). Requests are executed and answered at the end of the turn: in step, what their replies bring about goes through the log as one batch.
 */
export const READ_REPLIES_PER_WRITE = 32;
/**
 * When the answers of one turn, to all connections, have so many bytes, what else clients ask waits for the next: a primary that makes answers for as long
 * as backups wait for a heart-beat is taken for dead.
 */
export const TURN_BYTES = 2 << 20;
const ANY_CLUSTER = Buffer.alloc(16);

export interface ClientLinksOptions {
  readonly clusterId: Buffer;
  readonly maxConnections: number;
  /** Of a session. */
  readonly sessionSlots: number;
  readonly welcome: () => Welcome;
  readonly onMessage: (connection: ConnectionId, message: ClientRequest) => void;
  readonly requestTurn: () => void;
  /** Bad input, for the log. */
  readonly onRejected: (remote: string, reason: string) => void;
}

interface Connection {
  readonly id: ConnectionId;
  readonly framed: FramedSocket;
  /** Payloads that are not written yet. */
  outbox: Buffer[];
  outboxBytes: number;
  /** Of those, answers to reads. */
  readReplies: number;
  /** Among those that the end of the turn writes to. */
  isDirty: boolean;
  /** Reads handed on in the turn `turn`. */
  reads: number;
  turn: number;
  /** Decoded and not handed on yet; while there are any, or the client does not take its replies, the socket is not read. */
  readonly held: ClientRequest[];
  readonly times: RequestTimes;
}

function invalid(reason: string): Reject {
  return { type: 'reject', code: 'invalid', reason, retryAfterMs: 0, session: sessionId(0), slot: 0, seq: 0, id: 0 };
}

export class ClientLinks {
  readonly meter: RequestMeter;
  readonly #options: ClientLinksOptions;
  readonly #connections = new Map<ConnectionId, Connection>();
  readonly #batch = new FrameBatch();
  #dirty: Connection[] = [];
  #nextId = 1;
  #turn = 1;
  /** Of the replies of this turn, to all. */
  #turnBytes = 0;
  #meanwhileMs = 0;
  /** Those with messages that wait, and those that are not read from until the next turn. */
  readonly #holding = new Set<Connection>();

  constructor(options: ClientLinksOptions) {
    this.#options = options;
    this.meter = new RequestMeter(options.sessionSlots);
  }

  get size(): number {
    return this.#connections.size;
  }

  /** Milliseconds that writing within turns has taken. */
  get meanwhileMs(): number {
    return this.#meanwhileMs;
  }

  /** The first payload of a client's connection: takes the connection over, or returns why not; the client has been told. */
  accept(framed: FramedSocket, payload: Buffer): ConnectionId | string {
    const hello = this.#hello(payload);
    if (typeof hello === 'string') {
      framed.write([encodeFrame(encodeMessage(invalid(hello)))]);
      this.#options.onRejected(framed.remote, hello);
      return hello;
    }
    const connection: Connection = { id: this.#nextId++, framed, outbox: [], outboxBytes: 0, readReplies: 0, isDirty: false, reads: 0, turn: 0, held: [], times: new RequestTimes() };
    this.#connections.set(connection.id, connection);
    framed.handle((p) => this.#onPayload(connection, p), MESSAGE_BYTES, (reason) => { this.#reject(connection, reason); });
    framed.socket.on('drain', () => { this.#onDrained(connection); });
    this.reply(connection.id, this.#options.welcome());
    return connection.id;
  }

  /** Dropped when the connection has gone. */
  reply(id: ConnectionId, message: Message): void {
    const connection = this.#connections.get(id);
    if (connection === undefined) return;
    this.meter.answered(connection.times, message);
    this.#queue(connection, encodeMessage(message));
    if (message.type === 'readReply') connection.readReplies++;
  }

  #queue(connection: Connection, payload: Buffer): void {
    if (!connection.isDirty) {
      connection.isDirty = true;
      if (this.#dirty.push(connection) === 1) this.#options.requestTurn();
    }
    connection.outbox.push(payload);
    connection.outboxBytes += payload.length;
    this.#turnBytes += payload.length;
  }

  /** Who the group is, or who leads it, has changed. A client that was told when it connected may not have asked anybody but this replica since. */
  welcomeAgain(): void {
    if (this.#connections.size === 0) return;
    const payload = encodeMessage(this.#options.welcome());
    for (const connection of this.#connections.values()) this.#queue(connection, payload);
  }

  flush(): void {
    this.#turn++;
    this.#turnBytes = 0;
    if (this.#holding.size > 0) setImmediate(this.#releaseAll);
    if (this.#dirty.length === 0) return;
    const dirty = this.#dirty;
    this.#dirty = [];
    for (const connection of dirty) {
      connection.isDirty = false;
      if (connection.outbox.length > 0) this.#write(connection);
    }
    if (this.meter.hasAnswers) this.meter.endTurn(performance.now());
  }

  /** The connection has ended. */
  gone(id: ConnectionId): void {
    const connection = this.#connections.get(id);
    if (connection === undefined) return;
    this.#connections.delete(id);
    this.#holding.delete(connection);
  }

  stop(): void {
    this.flush();
    for (const { framed } of this.#connections.values()) framed.finish();
  }

  #write(connection: Connection): void {
    const { framed, outbox } = connection;
    for (const payload of outbox) this.#batch.add(payload);
    connection.outbox = [];
    connection.outboxBytes = 0;
    connection.readReplies = 0;
    framed.write(this.#batch.take());
    if (framed.backlog > BACKLOG_BYTES) framed.destroy(`it does not take its replies: ${framed.backlog} bytes wait for it`);
    else if (framed.backlog > PAUSE_BYTES) framed.socket.pause();
  }

  /** Whether nobody may ask for more in this turn. */
  get #turnIsFull(): boolean {
    return this.#turnBytes > TURN_BYTES;
  }

  /** Whether a message that has just come has to wait. Those that wait already are handed on behind it in each turn: half of that is theirs. */
  get #hasNoRoomForNew(): boolean {
    return this.#turnBytes > (this.#holding.size > 0 ? TURN_BYTES / 2 : TURN_BYTES);
  }

  /** Whether the connection may not ask for more in this turn. */
  #isFull(c: Connection): boolean {
    return c.framed.backlog + c.outboxBytes > PAUSE_BYTES || (c.turn === this.#turn && c.reads >= READS_PER_TURN);
  }

  #hand(c: Connection, message: ClientRequest): void {
    if (message.type === 'read') {
      if (c.turn !== this.#turn) c.reads = 0;
      c.turn = this.#turn;
      c.reads++;
    }
    this.#options.onMessage(c.id, message);
    if (c.readReplies >= READ_REPLIES_PER_WRITE) this.#writeMeanwhile(c);
  }

  #writeMeanwhile(c: Connection): void {
    const began = performance.now();
    this.#write(c);
    this.#meanwhileMs += performance.now() - began;
  }

  /** Its client takes its replies again. What waits is handed on when it is the connection's turn; one that has had its reads of this turn is read from in the next. */
  #onDrained(c: Connection): void {
    if (c.held.length === 0 && !this.#isFull(c)) {
      this.#release(c);
      return;
    }
    this.#holding.add(c);
    this.#options.requestTurn();
  }

  /** Goes on with a connection that had to wait. Each answer counts before the next message is handed on. */
  #release(c: Connection): void {
    let handed = 0;
    for (const message of c.held) {
      if (this.#turnIsFull || this.#isFull(c)) break;
      this.#hand(c, message);
      handed++;
    }
    if (handed > 0) {
      c.held.splice(0, handed);
      this.#options.requestTurn();
    }
    if (c.held.length > 0 || this.#isFull(c)) return;
    this.#holding.delete(c);
    if (c.framed.socket.isPaused()) c.framed.socket.resume();
  }

  /** Who still has to wait goes behind the others, so that those in front do not take every turn. */
  readonly #releaseAll = (): void => {
    for (const c of [...this.#holding]) {
      if (this.#turnIsFull) break;
      this.#release(c);
      if (this.#holding.delete(c)) this.#holding.add(c);
    }
  };

  /** The hello, or what is wrong with it. */
  #hello(payload: Buffer): Hello | string {
    const decoded = decodeMessage(payload);
    if (!decoded.ok) return `the first message cannot be read (${decoded.reason}): a client begins with Hello`;
    const m = decoded.value;
    if (m.type !== 'hello') return `the first message is ${m.type}: a client begins with Hello`;
    if (!m.clusterId.equals(ANY_CLUSTER) && !m.clusterId.equals(this.#options.clusterId)) {
      return `this replica belongs to group ${this.#options.clusterId.toString('hex')}, not to ${m.clusterId.toString('hex')}: ${START_ANEW}`;
    }
    if (this.#connections.size >= this.#options.maxConnections) return `this replica has ${this.#connections.size} client connections, as many as it may: try another replica`;
    return m;
  }

  #onPayload(connection: Connection, payload: Buffer): string | null {
    const decoded = decodeMessage(payload);
    if (!decoded.ok) return this.#reject(connection, `a message that cannot be read: ${decoded.reason}`);
    const m = decoded.value;
    switch (m.type) {
      case 'request':
      case 'read':
      case 'register':
      case 'endSession':
      case 'reconfigure':
      case 'checkEpoch':
      case 'askInterval':
        this.meter.takenIn(connection.times, m, connection.framed.lastReceived);
        if (connection.held.length === 0 && !this.#hasNoRoomForNew && !this.#isFull(connection)) {
          this.#hand(connection, m);
          return null;
        }
        connection.held.push(m);
        this.#holding.add(connection);
        connection.framed.socket.pause();
        return null;
      case 'hello':
        return this.#reject(connection, 'a second Hello');
      default:
        return this.#reject(connection, `${m.type} is not a client's message`);
    }
  }

  /** Tells the client, when what it is owed has been written, and ends the connection. */
  #reject(connection: Connection, reason: string): null {
    this.#options.onRejected(connection.framed.remote, reason);
    this.reply(connection.id, invalid(reason));
    this.#write(connection);
    connection.framed.end(reason);
    return null;
  }
}
