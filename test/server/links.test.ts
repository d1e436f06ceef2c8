import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { once } from 'node:events';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { defined } from '../../lib/assert.ts';
import { encodeFrame, FRAME_HEADER_BYTES, FrameDecoder, MAX_FRAME_BYTES } from '../../lib/frame.ts';
import { epoch, memberId, opNumber, sessionId, view, type MemberId } from '../../lib/ids.ts';
import type { Configuration } from '../../vr/configuration.ts';
import { MAX_BODY_BYTES } from '../../vr/entry.ts';
import { decodeMessage, encodeMessage, encodeRequest } from '../../vr/message_codec.ts';
import type { ClientRequest, Envelope, Message, ReplicaMessage } from '../../vr/messages.ts';
import { ClientLinks, PAUSE_BYTES, READS_PER_TURN, READ_REPLIES_PER_WRITE, TURN_BYTES } from '../../server/client_links.ts';
import { FramedSocket } from '../../server/framed_socket.ts';
import { Listener, ListenError } from '../../server/listener.ts';
import { QUEUE_BYTES } from '../../server/peer_link.ts';
import { PeerLinks } from '../../server/peer_links.ts';
import { encodePeerHello, PING } from '../../server/peer_handshake.ts';
import { Turn } from '../../server/turn.ts';
import { parseAddress } from '../../lib/address.ts';
import { CLUSTER_ID, groupOf, until } from './support.ts';

const cleanups: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** The edges of a replica without the replica: what came in is kept, replies are what a test says. */
class Edge {
  readonly self: MemberId;
  readonly received: { from: Envelope; message: ReplicaMessage }[] = [];
  readonly requests: { connection: number; message: ClientRequest }[] = [];
  readonly rejected: string[] = [];
  readonly refused: string[] = [];
  readonly lost: (string | null)[] = [];
  readonly refusals: string[] = [];
  turns = 0;
  incarnation = 1;
  onRequest: ((connection: number, message: ClientRequest) => void) | null = null;
  readonly peers: PeerLinks;
  readonly clients: ClientLinks;
  readonly listener: Listener;
  address = '';
  #envelope: Envelope | null = null;

  constructor(self: MemberId, configuration: Configuration, clusterId = CLUSTER_ID, maxConnections = 100, instance = Buffer.alloc(16, self), maxStrangers = 100) {
    this.self = self;
    const turn = new Turn(() => {
      this.turns++;
      this.peers.flush();
      this.clients.flush();
    });
    const requestTurn = (): void => { turn.request(); };
    const met = new Map<MemberId, string>();
    const pins = {
      refusal: (id: MemberId, instance: Buffer): string | null => {
        const known = met.get(id) ?? instance.toString('hex');
        met.set(id, known);
        return known === instance.toString('hex') ? null : `member ${id} comes with another data directory than before: it was formatted anew`;
      },
    };
    this.peers = new PeerLinks({
      clusterId, self, instance, pins, requestTurn,
      envelope: () => this.#currentEnvelope(),
      onMessage: (from, message) => { this.received.push({ from, message }); },
      onConnected: () => undefined,
      onDisconnected: (_member, reason) => { this.lost.push(reason); },
      onRefused: (member, reason) => { this.refusals.push(`${member}: ${reason}`); },
    });
    this.peers.setPeers(configuration.members);
    this.clients = new ClientLinks({
      clusterId, maxConnections, requestTurn, sessionSlots: 1024,
      welcome: () => ({ type: 'welcome', view: view(3), configuration, self, address: 'h:0', httpAddress: 'h:1', clusterId: Buffer.alloc(16) }),
      onMessage: (connection, message) => {
        this.requests.push({ connection, message });
        this.onRequest?.(connection, message);
      },
      onRejected: (_remote, reason) => { this.rejected.push(reason); },
    });
    this.listener = new Listener({ peers: this.peers, clients: this.clients, maxStrangers, requestTurn, onRefused: (_remote, reason) => { this.refused.push(reason); } });
    cleanups.push(() => this.stop());
  }

  #currentEnvelope(): Envelope {
    if (this.#envelope?.incarnation !== this.incarnation) this.#envelope = { epoch: epoch(0), sender: this.self, incarnation: this.incarnation };
    return this.#envelope;
  }

  async listen(at: string): Promise<void> {
    const parsed = parseAddress(at);
    if (!parsed.ok) throw new Error(parsed.reason);
    const bound = await this.listener.listen(parsed.value);
    this.address = `${bound.host}:${bound.port}`;
  }

  async stop(): Promise<void> {
    this.peers.stop();
    this.clients.stop();
    await this.listener.close();
  }
}

async function freeAddresses(count: number): Promise<string[]> {
  const servers = Array.from({ length: count }, () => createServer());
  const addresses: string[] = [];
  for (const server of servers) {
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    addresses.push(`127.0.0.1:${(server.address() as AddressInfo).port}`);
  }
  for (const server of servers) {
    server.close();
    await once(server, 'close');
  }
  return addresses;
}

async function edges(count: number): Promise<Edge[]> {
  const addresses = await freeAddresses(count);
  const configuration = groupOf(addresses);
  const made = addresses.map((_, i) => new Edge(memberId(i + 1), configuration));
  for (const [i, edge] of made.entries()) await edge.listen(defined(addresses[i], 'address'));
  for (const edge of made) edge.peers.start();
  await until(() => made.every((edge) => edge.peers.status().every((l) => l.connected)), 'all pairs are connected');
  return made;
}

const commit = (n: number): ReplicaMessage => ({ type: 'commit', view: view(1), commit: opNumber(n), head: opNumber(n), round: n, echoes: [] });

const BIG = { type: 'startView', view: view(1), op: opNumber(0), commit: opNumber(0), claim: { base: opNumber(0), baseHash: configurationHash(), headers: [], entries: [] } } as const;

describe('the links between replicas', () => {
  it('are one connection a pair; messages arrive in order under the envelope, encoded once', async () => {
    const [a, b, c] = await edges(3);
    const one = defined(a, 'a');
    for (let i = 0; i < 100; i++) one.peers.broadcast([memberId(2), memberId(3)], commit(i));
    for (const edge of [defined(b, 'b'), defined(c, 'c')]) {
      await until(() => edge.received.length === 100, 'all messages');
      expect(edge.received.map(({ message }) => (message.type === 'commit' ? message.round : -1))).toEqual(Array.from({ length: 100 }, (_, i) => i));
      expect(edge.received[0]?.from).toEqual({ epoch: 0, sender: 1, incarnation: 1 });
    }
    defined(c, 'c').incarnation = 5;
    defined(c, 'c').peers.send(memberId(1), commit(7));
    await until(() => one.received.length === 1, 'a message of the accepting side');
    expect(one.received[0]).toEqual({ from: { epoch: 0, sender: 3, incarnation: 5 }, message: commit(7) });
  });

  it('come back after the peer was away; what was sent meanwhile is dropped and counted', async () => {
    const addresses = await freeAddresses(2);
    const configuration = groupOf(addresses);
    const a = new Edge(memberId(1), configuration);
    await a.listen(defined(addresses[0], 'address'));
    a.peers.start();
    await until(() => a.lost.length > 0, 'the first attempt fails');
    expect(a.lost[0]).toMatch(/ECONNREFUSED/);
    a.peers.send(memberId(2), commit(1));
    expect(a.peers.status()[0]).toMatchObject({ connected: false, dropped: 1 });
    const b = new Edge(memberId(2), configuration);
    await b.listen(defined(addresses[1], 'address'));
    b.peers.start();
    await until(() => a.peers.status()[0]?.connected === true && b.peers.status()[0]?.connected === true, 'connected');
    a.peers.send(memberId(2), commit(2));
    await until(() => b.received.length === 1, 'the message after the connection');
    await b.stop();
    await until(() => a.peers.status()[0]?.connected === false, 'the loss is noticed');
    const again = new Edge(memberId(2), configuration);
    await again.listen(defined(addresses[1], 'address'));
    again.peers.start();
    await until(() => a.peers.status()[0]?.connected === true, 'connected again');
    again.peers.send(memberId(1), commit(3));
    await until(() => a.received.length === 1, 'a message over the new connection');
  });

  it('leave out a member whose address is none, and say so; the others are connected', async () => {
    const addresses = await freeAddresses(2);
    const made = groupOf([...addresses, 'garbage']);
    const [a, b] = [new Edge(memberId(1), made), new Edge(memberId(2), made)];
    for (const [i, edge] of [a, b].entries()) await edge.listen(defined(addresses[i], 'address'));
    for (const edge of [a, b]) edge.peers.start();
    await until(() => a.peers.status().some((l) => l.connected) && b.peers.status().some((l) => l.connected), 'the two are connected');
    expect(a.lost).toEqual([expect.stringMatching(/^it cannot be dialled: "garbage" is not an address.*vrfs members replace 3/)]);
    a.peers.broadcast([memberId(2), memberId(3)], commit(1));
    await until(() => b.received.length === 1, 'the message');
    // Should it come by itself, it is heard.
    const c = await dial(a.address);
    c.socket.write(encodeFrame(encodePeerHello({ clusterId: CLUSTER_ID, from: memberId(3), to: memberId(1), instance: Buffer.alloc(16, 3) })));
    await until(() => a.peers.status().every((l) => l.connected), 'it is connected');
  });

  it('drop messages for a peer that does not take them, and hold a bounded amount', async () => {
    const addresses = await freeAddresses(2);
    const configuration = groupOf(addresses);
    const a = new Edge(memberId(2), configuration);
    await a.listen(defined(addresses[1], 'address'));
    a.peers.start();
    // Member 1 dials, says hello and then reads nothing.
    const deaf = await dial(a.address);
    deaf.socket.write(encodeFrame(encodePeerHello({ clusterId: CLUSTER_ID, from: memberId(1), to: memberId(2), instance: Buffer.alloc(16, 1) })));
    await until(() => a.peers.status()[0]?.connected === true, 'connected');
    deaf.socket.pause();
    const big: ReplicaMessage = { ...BIG, nonce: Buffer.alloc(60_000) };
    for (let i = 0; i < 2000; i++) {
      a.peers.send(memberId(1), big);
      if (i % 50 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    const [status] = a.peers.status();
    expect(status?.dropped).toBeGreaterThan(0);
    expect(status?.queuedBytes).toBeLessThanOrEqual(QUEUE_BYTES);
    expect(status?.connected).toBe(true);
  });

  it('end when this replica stops, though a peer that was dialled does not take what waits for it', async () => {
    const deaf = createServer();
    deaf.listen(0, '127.0.0.1');
    await once(deaf, 'listening');
    cleanups.push(() => { deaf.close(); });
    const a = new Edge(memberId(1), groupOf(['127.0.0.1:1', `127.0.0.1:${(deaf.address() as AddressInfo).port}`]));
    a.peers.start();
    const [socket] = await once(deaf, 'connection') as [Socket];
    cleanups.push(() => { socket.destroy(); });
    socket.write(encodeFrame(encodePeerHello({ clusterId: CLUSTER_ID, from: memberId(2), to: memberId(1), instance: Buffer.alloc(16, 2) })));
    await until(() => a.peers.status()[0]?.connected === true, 'connected');
    for (let i = 0; i < 250; i++) a.peers.send(memberId(2), { ...BIG, nonce: Buffer.alloc(60_000) });
    a.peers.flush();
    let reset = false;
    socket.on('error', () => { reset = true; });
    a.peers.stop();
    await until(() => {
      if (!socket.destroyed) socket.write(encodeFrame(PING));
      return reset;
    }, 'the connection has gone');
  });

  it('refuse another group, another version, the wrong member, one that was formatted anew and themselves, and say why', async () => {
    const [a] = await edges(2);
    const edge = defined(a, 'a');
    const hello = { clusterId: CLUSTER_ID, from: memberId(2), to: memberId(1), instance: Buffer.alloc(16, 2) };
    const wrong: [Buffer, RegExp][] = [
      [encodePeerHello({ ...hello, clusterId: Buffer.alloc(16, 1) }), /group 0101.* is not group 0011/],
      [encodePeerHello({ ...hello, to: memberId(3) }), /this is member 1, not member 3/],
      [encodePeerHello({ ...hello, from: memberId(1) }), /member 1 does not belong to the group/],
      [encodePeerHello({ ...hello, instance: Buffer.alloc(16, 7) }), /member 2 comes with another data directory than before: it was formatted anew/],
      [Buffer.from([0xf0, 99]), /speaks version 99/],
    ];
    for (const [payload, reason] of wrong) {
      const c = await dial(edge.address);
      c.socket.write(encodeFrame(payload));
      await until(() => c.ended && c.payloads.length === 1 && edge.refused.length === 1, 'a refusal and the end');
      expect(defined(c.payloads[0], 'refusal').subarray(3).toString()).toMatch(reason);
      expect(edge.refused.pop()).toMatch(reason);
    }
    expect(edge.peers.status().every((l) => l.connected)).toBe(true);
  });

  it('tell a peer that was dialled why it is refused, and hear it', async () => {
    const addresses = await freeAddresses(2);
    const a = new Edge(memberId(1), groupOf(addresses));
    await a.listen(defined(addresses[0], 'address'));
    // Member 2 was met before; at its address now is one that was formatted anew.
    const met = await dial(a.address);
    const hello = { clusterId: CLUSTER_ID, from: memberId(2), to: memberId(1) };
    met.socket.write(encodeFrame(encodePeerHello({ ...hello, instance: Buffer.alloc(16, 2) })));
    await until(() => met.payloads.length === 1, 'the answer');
    met.socket.destroy();
    const b = new Edge(memberId(2), groupOf(addresses), CLUSTER_ID, 100, Buffer.alloc(16, 7));
    await b.listen(defined(addresses[1], 'address'));
    a.peers.start();
    b.peers.start();
    await until(() => b.refusals.length > 1, 'the refusal, at each attempt');
    expect(b.refusals[0]).toMatch(/^1: member 2 comes with another data directory than before: it was formatted anew/);
    expect(a.lost.filter((r) => r !== null).at(0)).toMatch(/member 2 comes with another data directory/);
    expect(a.refusals).toEqual([]);
  });

  it('take in a stranger of the same group as a guest, and can answer it', async () => {
    const [a] = await edges(2);
    const edge = defined(a, 'a');
    const c = await dial(edge.address);
    c.socket.write(encodeFrame(encodePeerHello({ clusterId: CLUSTER_ID, from: memberId(9), to: memberId(1), instance: Buffer.alloc(16, 9) })));
    await until(() => c.payloads.length === 1, 'the answer');
    edge.peers.send(memberId(9), commit(7));
    edge.peers.flush();
    await until(() => c.payloads.length === 2, 'a message');
    // No member: it is not asked for among the links.
    expect(edge.peers.status().map((l) => l.member)).toEqual([2]);
    c.socket.destroy();
    await until(() => edge.lost.length === 1, 'the end');
  });

  it('end when a peer sends what cannot be read, or in the name of another', async () => {
    for (const payload of [Buffer.from([1, 2, 3]), Buffer.concat([Buffer.from('00000000000000030000000000010000', 'hex').subarray(0, 14), encodeMessage(commit(1))])]) {
      const addresses = await freeAddresses(2);
      const edge = new Edge(memberId(2), groupOf(addresses));
      await edge.listen(defined(addresses[1], 'address'));
      const c = await dial(edge.address);
      c.socket.write(encodeFrame(encodePeerHello({ clusterId: CLUSTER_ID, from: memberId(1), to: memberId(2), instance: Buffer.alloc(16, 1) })));
      await until(() => c.payloads.length === 1, 'the answer');
      c.socket.write(encodeFrame(payload));
      await until(() => c.ended, 'the connection ends');
      await until(() => edge.lost.length === 1, 'the loss is told');
      expect(edge.lost[0]).toMatch(/cannot be read|on the link of member 1/);
      expect(edge.received).toEqual([]);
    }
  });

  it('answer a guest that has connected anew on its new connection', async () => {
    const [a] = await edges(2);
    const edge = defined(a, 'a');
    const hello = encodeFrame(encodePeerHello({ clusterId: CLUSTER_ID, from: memberId(9), to: memberId(1), instance: Buffer.alloc(16, 9) }));
    const old = await dial(edge.address);
    old.socket.write(hello);
    await until(() => old.payloads.length === 1, 'the answer');
    const c = await dial(edge.address);
    c.socket.write(hello);
    await until(() => c.payloads.length === 1 && old.ended, 'the answer, and the end of the old connection');
    edge.peers.send(memberId(9), commit(7));
    edge.peers.flush();
    await until(() => c.payloads.length === 2, 'a message');
    // It is forgotten when that ends too.
    c.socket.destroy();
    await until(() => edge.lost.length === 2, 'the end');
  });

  it('outlive connections that cannot be accepted, and say so', async () => {
    const [a] = await edges(1);
    const { peers, clients } = defined(a, 'a');
    const server = createServer();
    const refused: string[] = [];
    const listener = new Listener({ peers, clients, maxStrangers: 10, requestTurn: () => undefined, onRefused: (_remote, reason) => { refused.push(reason); } }, server);
    cleanups.push(() => listener.close());
    await listener.listen({ host: '127.0.0.1', port: 0 });
    for (const code of ['ENOBUFS', 'ENOMEM']) server.emit('error', new Error(`accept ${code}`));
    // The second is told later (accept_failures.test.ts).
    expect(refused[0]).toBe('it could not be accepted: accept ENOBUFS');
  });

  it('name the port and the remedy when they cannot listen', async () => {
    const [a] = await edges(1);
    const second = new Edge(memberId(1), groupOf([defined(a, 'a').address]));
    await expect(second.listen(defined(a, 'a').address)).rejects.toThrow(ListenError);
    await expect(second.listen(defined(a, 'a').address)).rejects.toThrow(/127\.0\.0\.1:\d+ is in use by another process.*choose another port/);
  });
});

function configurationHash(): ReturnType<typeof import('../../lib/hash.ts').sha256> {
  return '\0'.repeat(32) as ReturnType<typeof import('../../lib/hash.ts').sha256>;
}

interface Dialled { readonly socket: Socket; readonly payloads: Buffer[]; readonly messages: Message[]; ended: boolean }

async function dial(address: string): Promise<Dialled> {
  const parsed = parseAddress(address);
  if (!parsed.ok) throw new Error(parsed.reason);
  const socket = connect({ host: parsed.value.host, port: parsed.value.port });
  cleanups.push(() => { socket.destroy(); });
  const decoder = new FrameDecoder();
  const dialled: Dialled = { socket, payloads: [], messages: [], ended: false };
  socket.on('data', (chunk: Buffer) => {
    decoder.push(chunk, (payload) => {
      dialled.payloads.push(payload);
      const message = decodeMessage(payload);
      if (message.ok) dialled.messages.push(message.value);
    });
  });
  socket.on('error', () => { dialled.ended = true; });
  socket.on('close', () => { dialled.ended = true; });
  await once(socket, 'connect');
  return dialled;
}

async function client(edge: Edge): Promise<Dialled> {
  const c = await dial(edge.address);
  c.socket.write(encodeFrame(encodeMessage({ type: 'hello', clusterId: CLUSTER_ID })));
  await until(() => c.messages.length === 1, 'Welcome');
  return c;
}

function request(n: number, bytes = 10): Buffer {
  return encodeFrame(encodeRequest(7, n % 100, n, Buffer.alloc(bytes, n & 0xff)));
}

function read(id: number): Buffer {
  return encodeFrame(encodeMessage({ type: 'read', id, consistency: 'causal', minOp: opNumber(0), maxStalenessMs: 0, body: Buffer.alloc(10) }));
}

describe('the links of clients', () => {
  it('welcome a client whoever is primary, also one that does not know the group yet', async () => {
    const [a] = await edges(1);
    const edge = defined(a, 'a');
    const c = await client(edge);
    expect(c.messages[0]).toMatchObject({ type: 'welcome', view: 3, self: 1, httpAddress: 'h:1' });
    const any = await dial(edge.address);
    any.socket.write(encodeFrame(encodeMessage({ type: 'hello', clusterId: Buffer.alloc(16) })));
    await until(() => any.messages.length === 1, 'Welcome');
    expect(edge.clients.size).toBe(2);
    // When the members have changed, all of them without being asked.
    edge.clients.welcomeAgain();
    await until(() => c.messages.length === 2 && any.messages.length === 2, 'Welcome again');
    expect([c.messages[1], any.messages[1]]).toEqual([c.messages[0], c.messages[0]]);
    c.socket.destroy();
    await until(() => edge.clients.size === 1, 'the connection is forgotten');
  });

  it('hand requests on in order however the stream is cut, and answer in few writes', async () => {
    const [a] = await edges(1);
    const edge = defined(a, 'a');
    edge.onRequest = (connection, m) => {
      if (m.type === 'request') edge.clients.reply(connection, { type: 'reply', session: m.session, slot: m.slot, seq: m.seq, view: view(0), op: opNumber(m.seq), result: m.body });
    };
    const c = await client(edge);
    const stream = Buffer.concat(Array.from({ length: 500 }, (_, i) => request(i, i % 97)));
    for (let at = 0; at < stream.length; at += 1777) {
      c.socket.write(stream.subarray(at, at + 1777));
      if (at % 5331 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    await until(() => c.messages.length === 501, 'all replies');
    expect(c.messages.slice(1).map((m) => (m.type === 'reply' ? m.seq : -1))).toEqual(Array.from({ length: 500 }, (_, i) => i));
    expect(edge.requests.map(({ message }) => (message.type === 'request' ? message.body.length : -1))).toEqual(Array.from({ length: 500 }, (_, i) => i % 97));
    expect(edge.turns).toBeLessThan(400);
    const { latency, messages } = edge.clients.meter;
    expect([latency.counts.reduce((sum, n) => sum + n), messages.request]).toEqual([500, 500]);
  });

  /** An edge that answers reads at once, the replica's end of the connection of a client, and what is called at each write to it, behind it. */
  async function reading(): Promise<{ readonly edge: Edge; readonly c: Dialled; readonly socket: Socket; readonly written: { then: () => void } }> {
    const [a] = await edges(1);
    const edge = defined(a, 'a');
    edge.onRequest = (connection, m) => {
      if (m.type === 'read') edge.clients.reply(connection, { type: 'readReply', id: m.id, op: opNumber(1), result: Buffer.alloc(10) });
    };
    const sockets: Socket[] = [];
    const written = { then: (): void => undefined };
    const spy = vi.spyOn(FramedSocket.prototype, 'write').mockImplementation(function (this: FramedSocket, frames) {
      sockets.push(this.socket);
      for (const frame of frames) this.socket.write(frame);
      written.then();
    });
    cleanups.push(() => { spy.mockRestore(); });
    const c = await client(edge);
    return { edge, c, socket: defined(sockets.at(-1), 'the socket that Welcome went to'), written };
  }

  it('are given answers to reads while others are still made, and what else they are told at the end of the turn', async () => {
    const { edge, c, socket, written } = await reading();
    // Of each write how many turns had ended, and what had been asked by then.
    const writes: (readonly [turns: number, asked: number])[] = [];
    written.then = () => { writes.push([edge.turns, edge.requests.length]); };
    const { turns } = edge;
    const reads = Array.from({ length: 3 * READ_REPLIES_PER_WRITE + 4 }, (_, id) => read(id));
    // In one read of the socket, whatever the network makes of it.
    socket.emit('data', Buffer.concat(reads));
    edge.clients.reply(defined(edge.requests[0], 'a read').connection, { type: 'reply', session: sessionId(7), slot: 0, seq: 1, view: view(0), op: opNumber(1), result: Buffer.alloc(3) });
    await until(() => c.messages.length === 1 + reads.length + 1, 'all replies');
    // A donor paces itself by it.
    expect(edge.clients.meanwhileMs).toBeGreaterThan(0);
    expect(writes).toEqual([...[1, 2, 3].map((n) => [turns, n * READ_REPLIES_PER_WRITE]), [turns + 1, reads.length]]);
    expect(c.messages.slice(1).map((m) => (m.type === 'readReply' ? m.id : m.type))).toEqual([...reads.map((_, i) => i), 'reply']);
  });

  it('are read from again when they take the last answers that they get in a turn before it ends', async () => {
    const { c, socket, written } = await reading();
    let backlog = 0;
    Object.defineProperty(socket, 'writableLength', { get: () => backlog });
    let writes = 0;
    written.then = () => { if (++writes === READS_PER_TURN / READ_REPLIES_PER_WRITE) backlog = PAUSE_BYTES + 1; };
    socket.emit('data', Buffer.concat(Array.from({ length: READS_PER_TURN }, (_, id) => read(id))));
    expect(socket.isPaused()).toBe(true);
    backlog = 0;
    socket.emit('drain');
    await until(() => !socket.isPaused(), 'it is read from');
    c.socket.write(read(9999));
    await until(() => c.messages.some((m) => m.type === 'readReply' && m.id === 9999), 'its answer');
  });

  it('answer bad input with a Reject that says what is wrong, and end the connection', async () => {
    const [a] = await edges(1);
    const edge = defined(a, 'a');
    const first: [Buffer, RegExp][] = [
      [encodeMessage(commit(1)), /first message is commit: a client begins with Hello/],
      [Buffer.from([0]), /first message cannot be read \(unknown message kind 0\)/],
      [encodeMessage({ type: 'hello', clusterId: Buffer.alloc(16, 5) }), /belongs to group 0011.*not to 0505/],
    ];
    for (const [payload, reason] of first) {
      const c = await dial(edge.address);
      c.socket.write(encodeFrame(payload));
      await until(() => c.ended && c.messages.length === 1, 'a Reject and the end');
      expect(c.messages[0]).toMatchObject({ type: 'reject', code: 'invalid' });
      expect(edge.rejected.pop()).toMatch(reason);
    }
    const later: [Buffer, RegExp][] = [
      [Buffer.from([5, 1]), /cannot be read: truncated/],
      [encodeMessage(commit(1)), /commit is not a client's message/],
      [encodeMessage({ type: 'hello', clusterId: CLUSTER_ID }), /a second Hello/],
    ];
    for (const [payload, reason] of later) {
      const c = await client(edge);
      c.socket.write(encodeFrame(payload));
      await until(() => c.ended && c.messages.length === 2, 'a Reject and the end');
      expect(c.messages[1]).toMatchObject({ type: 'reject', code: 'invalid' });
      expect(edge.rejected.pop()).toMatch(reason);
    }
    expect(edge.requests).toEqual([]);
  });

  it('refuse a message that is longer than any of a client when it is announced, before it arrives', async () => {
    const [a] = await edges(1);
    const edge = defined(a, 'a');
    const announced = Buffer.alloc(FRAME_HEADER_BYTES);
    announced.writeUInt32BE(MAX_FRAME_BYTES);
    const c = await client(edge);
    c.socket.write(announced);
    await until(() => c.ended && c.messages.length === 2, 'a Reject and the end');
    expect(c.messages[1]).toMatchObject({ type: 'reject', code: 'invalid', reason: expect.stringMatching(/a frame of 16777216 bytes: 1 to \d+ are allowed/) as string });
    expect(edge.rejected).toHaveLength(1);

    const stranger = await dial(edge.address);
    announced.writeUInt32BE(1 << 20);
    stranger.socket.write(announced);
    await until(() => stranger.ended, 'the end');
    expect(edge.refused).toEqual([expect.stringMatching(/a frame of 1048576 bytes/)]);
  });

  it('take the longest operation that there is', async () => {
    const [a] = await edges(1);
    const edge = defined(a, 'a');
    const c = await client(edge);
    c.socket.write(request(1, MAX_BODY_BYTES));
    await until(() => edge.requests.length === 1, 'the request');
    expect(c.ended).toBe(false);
  });

  it('end a connection whose stream is damaged', async () => {
    const [a] = await edges(1);
    const c = await client(defined(a, 'a'));
    const frame = request(1);
    frame[frame.length - 1] = defined(frame[frame.length - 1], 'byte') ^ 1;
    c.socket.write(frame);
    await until(() => c.ended, 'the end');
    expect(defined(a, 'a').requests).toEqual([]);
  });

  it('do not read from a client that does not take its replies, and go on when it does', async () => {
    const [a] = await edges(1);
    const edge = defined(a, 'a');
    const result = Buffer.alloc(64 << 10);
    edge.onRequest = (connection, m) => {
      if (m.type === 'read') edge.clients.reply(connection, { type: 'readReply', id: m.id, op: opNumber(1), result });
    };
    const c = await client(edge);
    c.socket.pause();
    const total = 2000;
    let sent = 0;
    const feed = setInterval(() => {
      for (let i = 0; i < 20 && sent < total; i++) c.socket.write(encodeFrame(encodeMessage({ type: 'read', id: sent++, consistency: 'causal', minOp: opNumber(0), maxStalenessMs: 0, body: Buffer.alloc(2000) })));
    }, 1);
    cleanups.push(() => { clearInterval(feed); });
    await until(() => sent === total, 'all requests are sent');
    // What is under way is read and answered, until nothing moves any more.
    let [still, last] = [0, -1];
    await until(() => {
      still = edge.requests.length === last ? still + 1 : 0;
      last = edge.requests.length;
      return still > 200;
    }, 'nothing more is read');
    // The kernel's buffers and PAUSE_BYTES hold what was answered; the rest is not even read.
    const answered = edge.requests.length;
    expect(answered).toBeLessThan(total);
    expect(answered * result.length).toBeLessThan(PAUSE_BYTES + (64 << 20));
    c.socket.resume();
    await until(() => c.messages.length === total + 1, 'all replies');
  });

  it('end when the replica stops, whether or not they take what waits for them', async () => {
    const [a] = await edges(1);
    const edge = defined(a, 'a');
    const [deaf, reading] = [await client(edge), await client(edge)];
    deaf.socket.pause();
    const result = Buffer.alloc(1 << 20);
    // More than the kernel takes.
    for (const connection of [1, 2]) for (let id = 0; id < 40; id++) edge.clients.reply(connection, { type: 'readReply', id, op: opNumber(1), result });
    edge.clients.flush();
    await edge.stop();
    await until(() => reading.ended, 'the end');
    expect(reading.messages).toHaveLength(41);
    expect(deaf.ended).toBe(false);
  });

  it('are answered also when they had to wait and others ask anew all the time', async () => {
    const [a] = await edges(1);
    const edge = defined(a, 'a');
    const result = Buffer.alloc(1 << 20);
    edge.onRequest = (connection, m) => {
      if (m.type === 'read') edge.clients.reply(connection, { type: 'readReply', id: m.id, op: opNumber(1), result });
    };
    // Each asks again as soon as it has its answer, and so never has to wait for one of its own.
    const eager: Dialled[] = [];
    let done = false;
    for (let i = 0; i < 8; i++) {
      const c = await client(edge);
      let seen = c.messages.length;
      c.socket.on('data', () => {
        for (; seen < c.messages.length; seen++) if (!done) c.socket.write(read(seen));
      });
      eager.push(c);
    }
    for (const c of eager) c.socket.write(read(0));
    const patient = await client(edge);
    const before = edge.requests.length;
    patient.socket.write(Buffer.concat(Array.from({ length: 10 }, (_, id) => read(id))));
    await until(() => patient.messages.length === 11, 'its answers');
    done = true;
    // While it had ten, the others had no more than a few times its share.
    expect(edge.requests.length - before).toBeLessThan(10 * 8 * 4);
  });

  it('are given no more answers in a turn than the replica has time for, each of them its share', async () => {
    const [a] = await edges(1);
    const edge = defined(a, 'a');
    const result = Buffer.alloc(512 << 10);
    const turns: Map<number, number>[] = [];
    edge.onRequest = (connection, m) => {
      if (m.type !== 'read') return;
      const turn = (turns[edge.turns] ??= new Map<number, number>());
      turn.set(connection, (turn.get(connection) ?? 0) + result.length);
      edge.clients.reply(connection, { type: 'readReply', id: m.id, op: opNumber(1), result });
    };
    const each = 10;
    const reads = Buffer.concat(Array.from({ length: each }, (_, id) => read(id)));
    const clients: Dialled[] = [];
    for (let i = 0; i < 40; i++) clients.push(await client(edge));
    for (const c of clients) c.socket.write(reads);
    await until(() => clients.every((c) => c.messages.length === each + 1), 'all answers');
    for (const c of clients) expect(c.messages.slice(1).map((m) => (m.type === 'readReply' ? m.id : -1))).toEqual(Array.from({ length: each }, (_, id) => id));
    for (const turn of turns.filter((t) => t !== undefined)) {
      const bytes = [...turn.values()];
      expect(Math.max(...bytes)).toBeLessThanOrEqual(PAUSE_BYTES + result.length);
      expect(bytes.reduce((sum, n) => sum + n)).toBeLessThanOrEqual(TURN_BYTES + result.length);
    }
    // Nobody has all of its answers before the last one has its first.
    const order = edge.requests.map((r) => r.connection);
    const connections = [...new Set(order)];
    const lastFirst = Math.max(...connections.map((c) => order.indexOf(c)));
    const firstLast = Math.min(...connections.map((c) => order.lastIndexOf(c)));
    expect(lastFirst).toBeLessThan(firstLast);
  });

  it('are bounded in number before they say anything: the oldest makes room, and a client is welcome', async () => {
    const [address] = await freeAddresses(1);
    const edge = new Edge(memberId(1), groupOf([defined(address, 'address')]), CLUSTER_ID, 100, Buffer.alloc(16, 1), 3);
    await edge.listen(defined(address, 'address'));
    const welcomed = await client(edge);
    const silent: Dialled[] = [];
    for (let i = 0; i < 3; i++) silent.push(await dial(edge.address));
    const late = await client(edge);
    await until(() => defined(silent[0], 'the first').ended, 'the oldest ends');
    expect(edge.refused).toEqual(['it had not said what it is when others came']);
    expect([welcomed, late, ...silent.slice(1)].map((c) => c.ended)).toEqual([false, false, false, false]);
  });

  it('are bounded in number', async () => {
    const [address] = await freeAddresses(1);
    const edge = new Edge(memberId(1), groupOf([defined(address, 'address')]), CLUSTER_ID, 2);
    await edge.listen(defined(address, 'address'));
    await client(edge);
    await client(edge);
    const third = await dial(edge.address);
    third.socket.write(encodeFrame(encodeMessage({ type: 'hello', clusterId: CLUSTER_ID })));
    await until(() => third.ended, 'the end');
    expect(third.messages[0]).toMatchObject({ type: 'reject' });
    expect(edge.rejected[0]).toMatch(/2 client connections, as many as it may: try another replica/);
  });
});
