import type { Socket } from 'node:net';
import { describe, expect, it, vi } from 'vitest';
import { defined } from '../../lib/assert.ts';
import { encodeFrame, FRAME_HEADER_BYTES, MAX_FRAME_BYTES } from '../../lib/frame.ts';
import { memberId, opNumber, sessionId, view } from '../../lib/ids.ts';
import { MAX_BODY_BYTES } from '../../vr/entry.ts';
import { encodeMessage, encodeRequest } from '../../vr/message_codec.ts';
import { PAUSE_BYTES, READS_PER_TURN, READ_REPLIES_PER_WRITE, TURN_BYTES } from '../../server/client_links.ts';
import { FramedSocket } from '../../server/framed_socket.ts';
import { CLUSTER_ID, groupOf, until } from './support.ts';
import { cleanups, commit, dial, type Dialled, Edge, edges, freeAddresses } from './edge.ts';

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
