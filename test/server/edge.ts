/** The edges of replicas, and somebody who dials them: for tests of what goes over the links. */
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { once } from 'node:events';
import { afterEach } from 'vitest';
import { defined } from '../../lib/assert.ts';
import { FrameDecoder } from '../../lib/frame.ts';
import { epoch, memberId, opNumber, view, type MemberId } from '../../lib/ids.ts';
import type { Configuration } from '../../vr/configuration.ts';
import { decodeMessage } from '../../vr/message_codec.ts';
import type { ClientRequest, Envelope, Message, ReplicaMessage } from '../../vr/messages.ts';
import { ClientLinks } from '../../server/client_links.ts';
import { Listener } from '../../server/listener.ts';
import { PeerLinks } from '../../server/peer_links.ts';
import { Turn } from '../../server/turn.ts';
import { parseAddress } from '../../lib/address.ts';
import { CLUSTER_ID, groupOf, until } from './support.ts';

/** What a test has opened is closed behind it. */
export const cleanups: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** The edges of a replica without the replica: what came in is kept, replies are what a test says. */
export class Edge {
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

export async function freeAddresses(count: number): Promise<string[]> {
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

export async function edges(count: number): Promise<Edge[]> {
  const addresses = await freeAddresses(count);
  const configuration = groupOf(addresses);
  const made = addresses.map((_, i) => new Edge(memberId(i + 1), configuration));
  for (const [i, edge] of made.entries()) await edge.listen(defined(addresses[i], 'address'));
  for (const edge of made) edge.peers.start();
  await until(() => made.every((edge) => edge.peers.status().every((l) => l.connected)), 'all pairs are connected');
  return made;
}

export const commit = (n: number): ReplicaMessage => ({ type: 'commit', view: view(1), commit: opNumber(n), head: opNumber(n), round: n, echoes: [] });

export interface Dialled { readonly socket: Socket; readonly payloads: Buffer[]; readonly messages: Message[]; ended: boolean }

export async function dial(address: string): Promise<Dialled> {
  const parsed = parseAddress(address);
  if (!parsed.ok) throw new Error(parsed.reason);
  const socket = connect({ host: parsed.value.host, port: parsed.value.port });
  const dialled = reading(socket);
  await once(socket, 'connect');
  return dialled;
}

/** Somebody who only listens at `address`: the connections that come, in their order. */
export async function accepting(address: string): Promise<readonly Dialled[]> {
  const parsed = parseAddress(address);
  if (!parsed.ok) throw new Error(parsed.reason);
  const accepted: Dialled[] = [];
  const server = createServer((socket) => { accepted.push(reading(socket)); });
  cleanups.push(() => { server.close(); });
  server.listen(parsed.value.port, parsed.value.host);
  await once(server, 'listening');
  return accepted;
}

function reading(socket: Socket): Dialled {
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
  return dialled;
}
