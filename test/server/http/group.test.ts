/** The API in front of a real group of three: any replica answers, and goes on answering. */
import { request as httpRequest } from 'node:http';
import { request } from 'undici';
import { afterEach, describe, expect, test } from 'vitest';
import { pino } from 'pino';
import { defined } from '../../../lib/assert.ts';
import { VrfsClient } from '../../../client/client.ts';
import { FileSystem } from '../../../client/file_system.ts';
import { startHttp, type HttpServer } from '../../../server/http/server.ts';
import type { JsonAttributes } from '../../../server/http/json_views.ts';
import type { ProblemDetails } from '../../../server/http/problem.ts';
import { CHECKPOINT_PATH, CLUSTER_ID_HEADER } from '../../../server/running_replica.ts';
import { TestGroup } from '../group.ts';

class HttpGroup {
  readonly group: TestGroup;
  readonly #servers = new Map<number, HttpServer>();
  readonly #clients: VrfsClient[] = [];

  private constructor(group: TestGroup) {
    this.group = group;
  }

  static async start(requestTimeoutMs: number): Promise<HttpGroup> {
    const made = new HttpGroup(await TestGroup.make());
    const { group } = made;
    await group.startAll();
    const servers = group.configuration.members.map((m) => m.address);
    for (const m of group.configuration.members) {
      const client = await VrfsClient.connect({ servers, clusterId: group.clusterId, name: `http-${m.id}`, requestTimeoutMs });
      made.#clients.push(client);
      made.#servers.set(m.id, await startHttp({ running: group.replica(m.id), client, host: '127.0.0.1', port: 0, log: pino({ level: 'silent' }) }));
    }
    return made;
  }

  async send(id: number, method: 'GET' | 'PUT' | 'POST', path: string, body?: string | Buffer, headers: Record<string, string> = {}) {
    const { address } = defined(this.#servers.get(id), `server ${id}`);
    return await request(`http://${address}${path}`, { method, body, headers });
  }

  async healthy(id: number): Promise<boolean> {
    const response = await this.send(id, 'GET', '/v1/health');
    await response.body.dump();
    return response.statusCode === 200;
  }

  async stop(): Promise<void> {
    for (const server of this.#servers.values()) await server.close();
    for (const client of this.#clients) await client.close();
    await this.group.stop();
  }
}

/** Each round is an HTTP request, so the loop yields by itself. */
async function eventually(condition: () => Promise<boolean>, what: string): Promise<void> {
  const end = performance.now() + 20_000;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`not within 20 s: ${what}`);
  }
}

const started: HttpGroup[] = [];
async function start(requestTimeoutMs = 30_000): Promise<HttpGroup> {
  const made = await HttpGroup.start(requestTimeoutMs);
  started.push(made);
  return made;
}
afterEach(async () => {
  for (const group of started.splice(0)) await group.stop();
});

describe('a group of three', () => {
  test('any replica takes writes and sees those of the others at once', async () => {
    const http = await start();
    for (const writer of [1, 2, 3]) {
      const put = await http.send(writer, 'PUT', `/v1/fs/d/f${writer}?parents=true`, `by ${writer}`);
      expect(put.statusCode).toBe(201);
      await put.body.dump();
      for (const reader of [1, 2, 3]) expect(await (await http.send(reader, 'GET', `/v1/fs/d/f${writer}`)).body.text()).toBe(`by ${writer}`);
    }
    const note = await http.send(1, 'PUT', '/v1/fs/note', 'x');
    await note.body.dump();
    const token = String(note.headers['x-vrfs-op']);
    expect(token).toMatch(/^\d+@[0-9a-f]{16}$/);
    expect(Number.parseInt(token)).toBeGreaterThan(3);
    expect(await (await http.send(2, 'GET', '/v1/fs/note?consistency=causal', undefined, { 'x-vrfs-op': token })).body.text()).toBe('x');
    // A busy machine may have one miss the primary for a moment.
    await eventually(async () => {
      const statuses = await Promise.all([1, 2, 3].map(async (id) => (await (await http.send(id, 'GET', '/v1/status')).body.json()) as { readonly primary: number; readonly healthy: boolean }));
      return new Set(statuses.map((s) => s.primary)).size === 1 && statuses.every((s) => s.healthy);
    }, 'all are healthy, with one primary');
  });

  test('a read of a stated age is answered through every replica, also one that has to include an op', async () => {
    const http = await start();
    const put = await http.send(1, 'PUT', '/v1/fs/note', 'x');
    await put.body.dump();
    const token = String(put.headers['x-vrfs-op']);
    for (const reader of [1, 2, 3]) {
      const get = await http.send(reader, 'GET', '/v1/fs/note?consistency=bounded&maxStalenessMs=60000', undefined, { 'x-vrfs-op': token });
      expect([get.statusCode, await get.body.text()]).toEqual([200, 'x']);
    }
    // By now each has seen the write, so that nothing older may come.
    for (const reader of [1, 2, 3]) expect(await (await http.send(reader, 'GET', '/v1/fs/note?consistency=bounded&maxStalenessMs=60000')).body.text()).toBe('x');
  });

  test('a read of an op that there is not yet is given up soon, with the reason', async () => {
    const http = await start(3_600_000);
    for (const consistency of ['causal', 'bounded&maxStalenessMs=60000']) {
      const get = await http.send(2, 'GET', `/v1/fs/?consistency=${consistency}`, undefined, { 'x-vrfs-op': '99999999' });
      expect(get.statusCode).toBe(503);
      expect(get.headers['retry-after']).toBe('1');
      const { type, detail } = (await get.body.json()) as ProblemDetails;
      expect(type).toBe('urn:vrfs:problem:behind');
      expect(detail).toMatch(/no replica has what was asked for: op 99999999 is not executed here yet \(\d+ is\)/);
    }
  });

  test('long files, and compare-and-set from all sides: one wins each round', async () => {
    const http = await start();
    const content = Buffer.alloc(3_000_000, 'vrfs');
    await (await http.send(1, 'PUT', '/v1/fs/long', content)).body.dump();
    expect(Buffer.from(await (await http.send(2, 'GET', '/v1/fs/long')).body.arrayBuffer()).equals(content)).toBe(true);
    let { version } = (await (await http.send(1, 'PUT', '/v1/fs/c', '0')).body.json()) as JsonAttributes;
    for (let round = 0; round < 10; round++) {
      const tried = await Promise.all([1, 2, 3].map(async (id) => await http.send(id, 'PUT', '/v1/fs/c', `${round} by ${id}`, { 'if-match': `"${version}"` })));
      expect(tried.map((r) => r.statusCode).sort()).toEqual([200, 412, 412]);
      for (const response of tried) {
        const answer = (await response.body.json()) as JsonAttributes;
        if (response.statusCode === 200) ({ version } = answer);
      }
    }
  });

  test('goes on without the primary', async () => {
    const http = await start();
    await (await http.send(1, 'PUT', '/v1/fs/before', 'x')).body.dump();
    const { primary } = http.group.replica(1).status().replica;
    await http.group.stopOne(primary);
    const other = primary === 1 ? 2 : 1;
    const put = await http.send(other, 'PUT', '/v1/fs/after', 'y');
    expect(put.statusCode).toBe(201);
    await put.body.dump();
    expect(await (await http.send(other, 'GET', '/v1/fs/before')).body.text()).toBe('x');
    await eventually(async () => await http.healthy(other), 'the survivors are healthy');
  });

  test('says that it cannot without a majority, and recovers', async () => {
    const http = await start(1000);
    await (await http.send(1, 'PUT', '/v1/fs/f', 'x')).body.dump();
    await http.group.stopOne(2);
    await http.group.stopOne(3);
    // What the others granted it holds for a moment yet.
    await eventually(() => Promise.resolve(http.group.replica(1).status().replica.leaseMs === 0), 'its lease is over');
    const read = await http.send(1, 'GET', '/v1/fs/f');
    expect([read.statusCode, read.headers['retry-after']]).toEqual([503, '1']);
    expect(((await read.body.json()) as ProblemDetails).remedy).toContain('/v1/health');
    const put = await http.send(1, 'PUT', '/v1/fs/f', 'y');
    expect([503, 504]).toContain(put.statusCode);
    await put.body.dump();
    await eventually(async () => !(await http.healthy(1)), 'it knows that it is alone');
    await http.group.start(2);
    await eventually(async () => await http.healthy(1), 'a majority is healthy again');
    let text = '';
    // A busy machine may take longer over it than this group gives a request.
    await eventually(async () => {
      const again = await http.send(1, 'GET', '/v1/fs/f');
      text = await again.body.text();
      return again.statusCode === 200;
    }, 'it answers');
    expect(['x', 'y']).toContain(text);
  });

  test('refuses checkpoint requests of another group', async () => {
    const http = await start();
    const other = await http.send(1, 'POST', CHECKPOINT_PATH, 'x', { [CLUSTER_ID_HEADER]: '0'.repeat(32) });
    expect(other.statusCode).toBe(409);
    await other.body.dump();
    // Nonsense of the own group reaches the store, which answers it in its own terms.
    const nonsense = await http.send(1, 'POST', CHECKPOINT_PATH, 'x', { [CLUSTER_ID_HEADER]: http.group.clusterId.toString('hex') });
    expect(nonsense.headers['content-type']).toBe('application/octet-stream');
    await nonsense.body.dump();
  });

  test('a server that stops lets an upload that was cut off remove its temporary file', async () => {
    const { group } = await start();
    const servers = group.configuration.members.map((m) => m.address);
    const [own, other] = [await VrfsClient.connect({ servers, name: 'http' }), await group.client()];
    const server = await startHttp({ running: group.replica(1), client: own, host: '127.0.0.1', port: 0, log: pino({ level: 'silent' }), limits: { closeMs: 10 } });
    const names = async (): Promise<string[]> => await new FileSystem(other).readdir('/');
    // It begins, and then comes to no end.
    const put = httpRequest(`http://${server.address}/v1/fs/big`, { method: 'PUT' });
    put.on('error', () => undefined);
    put.write(Buffer.alloc(3 << 20));
    await eventually(async () => (await names()).some((name) => name.startsWith('.vrfs-put-')), 'the upload has begun');
    await server.close();
    await own.close();
    expect(await names()).toEqual([]);
  });
});
