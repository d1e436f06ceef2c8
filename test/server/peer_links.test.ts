import { spawn } from 'node:child_process';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { once } from 'node:events';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { defined } from '../../lib/assert.ts';
import { encodeFrame } from '../../lib/frame.ts';
import { ZERO_DIGEST } from '../../lib/hash.ts';
import { memberId, opNumber, view } from '../../lib/ids.ts';
import type { Configuration } from '../../vr/configuration.ts';
import { encodeMessage } from '../../vr/message_codec.ts';
import type { ReplicaMessage } from '../../vr/messages.ts';
import { Listener, ListenError } from '../../server/listener.ts';
import { QUEUE_BYTES } from '../../server/peer_link.ts';
import { encodePeerHello, PING } from '../../server/peer_handshake.ts';
import { CLUSTER_ID, groupOf, until } from './support.ts';
import { accepting, cleanups, commit, dial, Edge, edges, freeAddresses, type Dialled } from './edge.ts';

const BIG = { type: 'startView', view: view(1), op: opNumber(0), commit: opNumber(0), claim: { base: opNumber(0), baseHash: ZERO_DIGEST, headers: [], entries: [] } } as const;

/** A group of two whose addresses nobody listens at yet. */
async function pair(): Promise<[one: { readonly address: string; readonly configuration: Configuration }, two: { readonly address: string }]> {
  const [one, two] = await freeAddresses(2) as [string, string];
  return [{ address: one, configuration: groupOf([one, two]) }, { address: two }];
}

const hello = (from: number, to: number): Buffer => encodeFrame(encodePeerHello({ clusterId: CLUSTER_ID, from: memberId(from), to: memberId(to), instance: Buffer.alloc(16, from) }));

/** Somebody who dials `address` and says that it is member `from`. */
async function says(address: string, from: number, to: number): Promise<Dialled> {
  const dialled = await dial(address);
  dialled.socket.write(hello(from, to));
  return dialled;
}
function answers(accepted: Dialled, from: number, to: number): void {
  accepted.socket.write(hello(from, to));
}

/** Somebody of another group comes, and is refused. */
async function refusedBy(address: string): Promise<void> {
  const stranger = await dial(address);
  stranger.socket.write(encodeFrame(encodePeerHello({ clusterId: Buffer.alloc(16, 9), from: memberId(2), to: memberId(1), instance: Buffer.alloc(16, 2) })));
  await turnsUntil(() => stranger.ended, 'the refusal');
}

/** A member of a group of two has dialled the other, and has no answer yet. */
async function asking(self: 1 | 2): Promise<{ readonly edge: Edge; readonly dialled: readonly Dialled[] }> {
  const [one, two] = await pair();
  const edge = new Edge(memberId(self), one.configuration);
  const [own, other] = self === 1 ? [one.address, two.address] : [two.address, one.address];
  await edge.listen(own);
  const dialled = await accepting(other);
  edge.peers.start();
  await turnsUntil(() => dialled[0]?.payloads.length === 1, 'it says hello');
  return { edge, dialled };
}

/** Member 1 has dialled member 2, and has no answer yet; member 2 has dialled too, and member 1 has seen that. */
async function crossed(): Promise<{ readonly a: Edge; readonly dialled: readonly Dialled[]; readonly crossing: Dialled }> {
  const { edge: a, dialled } = await asking(1);
  const crossing = await says(a.address, 2, 1);
  // What comes on a connection behind it has been seen to, by the time that this is.
  await refusedBy(a.address);
  return { a, dialled, crossing };
}

/** An address at which connections are neither taken nor refused, as of a machine that is down: its queue of one is full. */
async function unanswering(): Promise<string> {
  const program = 'import socket\ns = socket.socket(); s.bind(("127.0.0.1", 0)); s.listen(0)\nc = socket.create_connection(s.getsockname())\nprint(s.getsockname()[1], flush=True)\ninput()';
  const child = spawn('python3', ['-c', program], { stdio: ['pipe', 'pipe', 'inherit'] });
  cleanups.push(() => { child.kill('SIGKILL'); });
  // Rejects where there is no such program.
  await once(child, 'spawn');
  const [port] = await once(child.stdout, 'data') as [Buffer];
  return `127.0.0.1:${Number(port.toString())}`;
}

const isConnected = (edge: Edge): boolean => edge.peers.status().every((l) => l.connected);

/** As `until`, where timers do not end by themselves. */
async function turnsUntil(condition: () => boolean, what: string): Promise<void> {
  const end = process.hrtime.bigint() + 20_000_000_000n;
  while (!condition()) {
    if (process.hrtime.bigint() > end) throw new Error(`not within 20 s: ${what}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

afterEach(() => { vi.useRealTimers(); });

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
    await until(() => isConnected(a) && isConnected(again), 'connected again');
    again.peers.send(memberId(1), commit(3));
    await until(() => a.received.length === 1, 'a message over the new connection');
  });

  it('come at once when the peer starts, though the next attempt of who dials is due much later', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval'] });
    const [one, two] = await pair();
    const [a, b] = [new Edge(memberId(1), one.configuration), new Edge(memberId(2), one.configuration)];
    await a.listen(one.address);
    a.peers.start();
    await turnsUntil(() => a.lost.length === 1, 'the first attempt fails');
    // The second would be made by a timer, and here no timer ever ends.
    await b.listen(two.address);
    b.peers.start();
    await turnsUntil(() => isConnected(a) && isConnected(b), 'connected');
  });

  it('are dialled no more once the other side has dialled', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const [one, two] = await pair();
    const a = new Edge(memberId(1), one.configuration);
    await a.listen(one.address);
    a.peers.start();
    await turnsUntil(() => a.lost.length === 1, 'the first attempt fails, and the next waits for its time');
    const other = await says(a.address, 2, 1);
    await turnsUntil(() => other.payloads.length === 1, 'connected');
    const dialled = await accepting(two.address);
    for (let i = 0; i < 20; i++) await vi.advanceTimersByTimeAsync(1_000);
    // Connections come in the order in which they were dialled.
    await dial(two.address);
    await turnsUntil(() => dialled.length > 0, 'a connection');
    expect(dialled.length).toBe(1);
    expect([isConnected(a), other.ended]).toEqual([true, false]);
  });

  it('stay one connection, and do not end each other, where both dial at once', async () => {
    for (let round = 0; round < 20; round++) {
      const all = await edges(5);
      for (const edge of all) edge.peers.broadcast(all.map((e) => e.self).filter((id) => id !== edge.self), commit(edge.self));
      await until(() => all.every((edge) => edge.received.length === 4), 'a message of each to each');
      expect(all.flatMap((edge) => edge.lost)).toEqual([]);
    }
  });

  it('of two that cross, that of the lower id stays: it does not answer the other while its own is under way', async () => {
    const { a, dialled, crossing } = await crossed();
    const own = defined(dialled[0], 'its connection');
    answers(own, 2, 1);
    await until(() => isConnected(a), 'it is connected');
    expect([crossing.payloads, own.ended, a.lost]).toEqual([[], false, []]);
    // So does whoever restarts in that moment, as its old connection ends.
    own.socket.destroy();
    await until(() => isConnected(a) && crossing.payloads.length === 1, 'an answer on the other');
  });

  it('of two that cross, the other one stays when that of the lower id fails', async () => {
    const { a, dialled, crossing } = await crossed();
    expect(crossing.payloads).toEqual([]);
    defined(dialled[0], 'its connection').socket.destroy();
    await until(() => isConnected(a) && crossing.payloads.length === 1, 'an answer on the other');
    expect(dialled.length).toBe(1);
  });

  it('do not wait for an own connection that does not come about, once the other side has dialled', async () => {
    const mute = await unanswering();
    const [one] = await pair();
    const a = new Edge(memberId(1), groupOf([one.address, mute]));
    await a.listen(one.address);
    a.peers.start();
    const other = await says(a.address, 2, 1);
    // It was answered before whoever came behind it was.
    await refusedBy(a.address);
    expect([other.payloads.length, isConnected(a)]).toEqual([1, true]);
  });

  it('are dialled once at a time, and by who starts only where the other side has not come already', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance'] });
    const addresses = await freeAddresses(3) as [string, string, string];
    const b = new Edge(memberId(2), groupOf(addresses));
    await b.listen(addresses[1]);
    const other = await says(addresses[1], 3, 2);
    await turnsUntil(() => other.payloads.length === 1, 'connected');
    const [silent, come] = [await accepting(addresses[0]), await accepting(addresses[2])];
    b.peers.start();
    await turnsUntil(() => silent.length === 1, 'one is dialled');
    // Long enough to dial although it is the other's part, but for what is under way; not so long that a silent connection ends.
    for (let i = 0; i < 8; i++) vi.advanceTimersByTime(500);
    // Connections come in the order in which they were dialled.
    for (const address of [addresses[0], addresses[2]]) await dial(address);
    await turnsUntil(() => silent.length > 1 && come.length > 0, 'those of this test');
    expect([silent.length, come.length, other.ended, b.lost]).toEqual([2, 1, false, []]);
  });

  it('of two that cross, the other one is answered when it is still there after a while: who has heard of this side gives it up', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance'] });
    const { a, dialled, crossing } = await crossed();
    expect(crossing.payloads).toEqual([]);
    for (let i = 0; i < 6; i++) vi.advanceTimersByTime(500);
    // Before any time-out of the own one, which is the machine's time, ends that.
    await refusedBy(a.address);
    expect([isConnected(a), crossing.payloads.length, dialled.map((d) => d.ended), a.lost]).toEqual([true, 1, [true], []]);
  });

  it('of two that cross, one waits; another one takes its place, and it may not go on unanswered', async () => {
    const { a, crossing } = await crossed();
    const second = await says(a.address, 2, 1);
    await until(() => crossing.ended, 'the first has ended');
    second.socket.write(encodeFrame(encodeMessage(commit(1))));
    await until(() => second.ended, 'it has gone on too early');
    expect([a.received, second.payloads]).toEqual([[], []]);
  });

  it('of two that cross, one that waits ends when the other side comes once more and is answered', async () => {
    vi.useFakeTimers({ toFake: ['performance'] });
    const { a, dialled, crossing } = await crossed();
    answers(defined(dialled[0], 'its connection'), 2, 1);
    await turnsUntil(() => isConnected(a), 'its own stays');
    vi.advanceTimersByTime(2_500);
    const later = await says(a.address, 2, 1);
    await turnsUntil(() => later.payloads.length === 1 && crossing.ended, 'an answer, and the end of what waited');
    expect([isConnected(a), later.ended]).toEqual([true, false]);
  });

  it('of two that cross, one that waits ends with the member', async () => {
    const { a, crossing } = await crossed();
    a.peers.setPeers([]);
    await until(() => crossing.ended, 'it has ended');
  });

  it('give way to a new one of the other side where the own one has been there for a while: a machine that lost power says no goodbye', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance'] });
    const { edge: a, dialled } = await asking(1);
    const own = defined(dialled[0], 'its connection');
    answers(own, 2, 1);
    await turnsUntil(() => isConnected(a), 'it is connected');
    for (let i = 0; i < 6; i++) vi.advanceTimersByTime(500);
    const other = await says(a.address, 2, 1);
    await turnsUntil(() => other.payloads.length === 1 && own.ended, 'the other is answered, and the own one ends');
    expect([isConnected(a), a.lost]).toEqual([true, ['the peer has connected anew']]);
  });

  it('of two that cross, the higher id gives up its own', async () => {
    const { edge: b, dialled } = await asking(2);
    const crossing = await says(b.address, 1, 2);
    await until(() => isConnected(b) && crossing.payloads.length === 1 && dialled[0]?.ended === true, 'it answers, and ends its own');
    expect(b.lost).toEqual([]);
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
    await until(() => b.refusals.length > 2 && a.lost.length > 0, 'the refusal, at each attempt');
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
