/** The members of a group of real processes change under load: docs/OPERATING.md, "Members". */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, describe, expect, it } from 'vitest';
import { VrfsClient } from '../../client/client.ts';
import { FileSystem } from '../../client/file_system.ts';
import { defined } from '../../lib/assert.ts';
import { freePorts } from '../support/ports.ts';
import { CLI, ProcessGroup, until } from '../support/process_group.ts';

const run = promisify(execFile);
const BOUND_MS = 60_000;

async function runToEnd(args: readonly string[]): Promise<{ status: number; stdout: string; stderr: string }> {
  try {
    return { status: 0, ...await run(process.execPath, [CLI, ...args]) };
  } catch (error) {
    const failed = error as { code: number; stdout: string; stderr: string };
    return { status: failed.code, stdout: failed.stdout, stderr: failed.stderr };
  }
}

interface Node { readonly child: ChildProcess; readonly address: string; readonly http: string; readonly data: string; output: string }

class World {
  readonly group: ProcessGroup;
  readonly nodes: Node[] = [];

  private constructor(group: ProcessGroup) {
    this.group = group;
  }
  static async start(): Promise<World> {
    const group = await ProcessGroup.create({ config: { checkpointOps: 200 } });
    group.startAll();
    await group.normal([0, 1, 2]);
    return new World(group);
  }

  /** `vrfs serve --join` in a directory of its own. */
  async join(name: string, servers = this.group.servers): Promise<Node> {
    const [port, http] = await freePorts(2);
    return this.#spawn(join(this.group.directory, name), `127.0.0.1:${defined(port, 'port')}`, `127.0.0.1:${defined(http, 'port')}`, servers);
  }

  /** All at once, as by a power loss, and then all again by the same command lines. */
  async powerLoss(nodes: readonly Node[]): Promise<Node[]> {
    for (const { child } of nodes) {
      const ended = once(child, 'exit');
      child.kill('SIGKILL');
      await ended;
    }
    return Promise.all(nodes.map((n) => this.#spawn(n.data, n.address, n.http, this.group.servers)));
  }

  async #spawn(data: string, address: string, http: string, servers: readonly string[]): Promise<Node> {
    const child = spawn(process.execPath, [CLI, 'serve', '--data', data, '--join', servers.join(','), '--address', address, '--http-address', http, '-o', 'checkpointOps=200'], { stdio: ['ignore', 'pipe', 'pipe'] });
    const node: Node = { child, address, http, data, output: '' };
    for (const stream of [child.stdout, child.stderr]) stream?.on('data', (text: Buffer) => { node.output += text.toString(); });
    this.nodes.push(node);
    await until('a node that answers', BOUND_MS, async () => (child.exitCode !== null || (await this.status(node)) !== undefined ? true : undefined));
    return node;
  }

  async status(node: Pick<Node, 'http'>): Promise<{ status: string; epoch: number; role: string | null; executed: number; op: number } | undefined> {
    try {
      const answer = await fetch(`http://${node.http}/v1/status`, { signal: AbortSignal.timeout(1000) });
      return answer.ok ? ((await answer.json()) as { status: string; epoch: number; role: string | null; executed: number; op: number }) : undefined;
    } catch {
      return undefined; // not up: the caller polls within a bound
    }
  }

  async vrfs(args: readonly string[], servers = this.group.servers): Promise<{ code: number; text: string }> {
    const { status, stdout, stderr } = await runToEnd([...args, '--server', servers.join(','), '--timeout', '60000']);
    return { code: status, text: stdout + stderr };
  }

  async revive(...args: string[]): Promise<{ code: number; text: string }> {
    const { status, stdout, stderr } = await runToEnd(['revive', ...args]);
    return { code: status, text: stdout + stderr };
  }

  async ok(...args: string[]): Promise<string> {
    const { code, text } = await this.vrfs(args);
    expect(code, text).toBe(0);
    return text;
  }

  async destroy(): Promise<void> {
    for (const { child } of this.nodes) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const ended = once(child, 'exit');
      child.kill('SIGKILL');
      await ended;
    }
    await this.group.destroy();
  }
}

/** Writers that go on through every change; each file is made once, exclusively. */
class Load {
  readonly #client: VrfsClient;
  readonly #fs: FileSystem;
  readonly made: string[] = [];
  readonly failures: string[] = [];
  longestMs = 0;
  #stop = false;
  readonly #writers: Promise<void>[];

  private constructor(client: VrfsClient) {
    this.#client = client;
    this.#fs = new FileSystem(client);
    this.#writers = [0, 1, 2, 3].map((w) => this.#write(w));
  }
  static async begin(servers: readonly string[]): Promise<Load> {
    const client = await VrfsClient.connect({ servers: [...servers], name: 'load', requestTimeoutMs: 60_000, connectTimeoutMs: 20_000 });
    const fs = new FileSystem(client);
    await fs.mkdir('/load');
    return new Load(client);
  }
  async #write(writer: number): Promise<void> {
    for (let i = 0; !this.#stop; i++) {
      const path = `/load/${writer}-${i}`;
      const begun = performance.now();
      try {
        await this.#fs.writeFile(path, path, { flag: 'wx' });
        this.made.push(path);
      } catch (error) {
        this.failures.push(`${path}: ${String(error)}`);
      }
      this.longestMs = Math.max(this.longestMs, performance.now() - begun);
    }
  }
  async more(): Promise<void> {
    const enough = this.made.length + 40;
    await until('more writes', BOUND_MS, () => (this.made.length >= enough ? true : undefined));
  }
  async end(): Promise<string[]> {
    this.#stop = true;
    await Promise.all(this.#writers);
    const found = await this.#fs.readdir('/load');
    await this.#client.close();
    return found.map((name) => `/load/${String(name)}`).sort();
  }
}

describe('the members of a group', () => {
  let world: World | undefined;
  afterEach(async () => {
    await world?.destroy();
    world = undefined;
  });

  it('change under load: one more, another in place of a lost one, the primary away; nothing is lost and nothing is done twice', async () => {
    world = await World.start();
    const { group } = world;
    const load = await Load.begin(group.servers);
    await load.more();

    const four = await world.join('four');
    expect(await world.status(four)).toMatchObject({ status: 'joining', role: null });
    const added = await world.ok('members', 'add', four.address);
    expect(added).toMatch(/reached/);
    expect(added).toMatch(/warmed \d+ %/);
    expect(added).toMatch(/done: epoch 2/);
    await load.more();
    expect(await world.status(four)).toMatchObject({ status: 'normal', role: 'voter', epoch: 2 });

    // A member dies, its disk with it; a new node takes its place.
    await group.signal(2, 'SIGKILL');
    rmSync(group.data(2), { recursive: true });
    const five = await world.join('five');
    await world.ok('members', 'replace', defined(group.servers[2], 'address'), five.address);
    await load.more();
    expect(await world.status(five)).toMatchObject({ status: 'normal', role: 'voter' });

    // The primary leaves: it ends by itself, and remembers.
    const primary = await group.primary();
    await world.ok('members', 'remove', defined(group.servers[primary], 'address'));
    expect(await group.exitCode(primary)).toBe(0);
    await load.more();
    group.start(primary);
    expect(await group.exitCode(primary)).not.toBe(0);
    expect(group.output(primary) + group.log(primary)).toMatch(/has left the group for good/);

    // A client with the old list of addresses finds the way.
    const old = await world.vrfs(['ls', '/load']);
    expect(old.code, old.text).toBe(0);
    const listed = JSON.parse((await world.vrfs(['members', 'list', '--json'])).text) as { epoch: number; members: unknown[] };
    expect(listed.members).toHaveLength(3);

    const found = await load.end();
    expect(load.failures).toEqual([]);
    expect(found).toEqual([...load.made].sort());
    console.log(`${load.made.length} files while the members changed; longest write ${Math.round(load.longestMs)} ms`);
  });

  it('are one that is left, and two new ones, when the machines of the others are lost', async () => {
    world = await World.start();
    const { group } = world;
    const load = await Load.begin(group.servers);
    await load.more();
    const made = await load.end();
    // One has all that was acknowledged when the others are lost for good.
    const survivor = (await group.primary() + 1) % 3;
    const executed = async (): Promise<number> => (await group.status(survivor))?.executed ?? 0;
    const newest = Math.max(...await Promise.all([0, 1, 2].map(async (i) => (await group.status(i))?.op ?? 0)));
    await until('the survivor has all', BOUND_MS, async () => ((await executed()) >= newest ? true : undefined));
    await Promise.all([0, 1, 2].map((i) => group.signal(i, 'SIGKILL')));
    for (const i of [0, 1, 2]) if (i !== survivor) rmSync(group.data(i), { recursive: true });

    const data = group.data(survivor);
    const looked = await world.revive('--data', data, '--alone');
    expect(looked).toMatchObject({ code: 1, text: expect.stringContaining(`  vrfs revive --data ${data} --alone --accept-loss`) as string });
    expect(looked.text).toContain('durability disk');
    const refused = await world.revive('--data', data, '--accept-loss');
    expect(refused).toMatchObject({ code: 5, text: expect.stringContaining('--alone') as string });
    expect(await world.revive('--data', data, '--alone', '--accept-loss')).toMatchObject({ code: 0, text: expect.stringContaining('goes on alone from op') as string });
    group.start(survivor);
    const address = defined(group.servers[survivor], 'address');
    const servers = [address];
    await until('it serves', BOUND_MS, async () => ((await world?.vrfs(['ls', '/'], servers))?.code === 0 ? true : undefined));

    const nodes = [await world.join('second', servers), await world.join('third', servers)];
    const added = await world.vrfs(['members', 'add', ...nodes.map((n) => n.address)], servers);
    expect(added.code, added.text).toBe(0);
    // Any of the three may go now.
    await group.signal(survivor, 'SIGKILL');
    const client = await VrfsClient.connect({ servers: nodes.map((n) => n.address), requestTimeoutMs: BOUND_MS });
    try {
      const fs = new FileSystem(client);
      expect((await fs.readdir('/load')).map((name) => `/load/${String(name)}`).sort()).toEqual(made);
      await fs.mkdir('/after');
    } finally {
      await client.close();
    }
  });

  it('are known to a client that was quiet while all but the primary were replaced', async () => {
    world = await World.start();
    const { group } = world;
    const client = await VrfsClient.connect({ servers: group.servers, requestTimeoutMs: 20_000 });
    try {
      const fs = new FileSystem(client);
      await fs.mkdir('/before');
      const primary = await group.primary();
      for (const i of [0, 1, 2].filter((other) => other !== primary)) {
        const node = await world.join(`in place of ${i}`);
        await world.ok('members', 'replace', defined(group.servers[i], 'address'), node.address);
      }
      // Of those that it was started with nobody is left then.
      expect(await group.primary()).toBe(primary);
      await group.signal(primary, 'SIGKILL');
      await fs.mkdir('/after');
      expect((await fs.readdir('/')).sort()).toEqual(['after', 'before']);
    } finally {
      await client.close();
    }
  });

  it('come back after a power loss of all also when each of them has joined', async () => {
    world = await World.start();
    const { group } = world;
    await world.ok('mkdir', '/kept');
    const joined: Node[] = [];
    for (const [i, name] of ['four', 'five', 'six'].entries()) {
      const node = await world.join(name);
      await world.ok('members', 'replace', defined(group.servers[i], 'address'), node.address);
      expect(await group.exitCode(i)).toBe(0);
      joined.push(node);
    }
    const again = await world.powerLoss(joined);
    expect(again.map((n) => n.child.exitCode), again.map((n) => n.output).join('\n')).toEqual([null, null, null]);
    const listed = await world.vrfs(['ls', '/'], again.map((n) => n.address));
    expect(listed).toMatchObject({ code: 0, text: 'kept\n' });
    const changed = await world.vrfs(['mkdir', '/after'], again.map((n) => n.address));
    expect(changed.code, changed.text).toBe(0);
  });

  it('are not changed by what is wrong, and a member that was formatted anew takes no part', async () => {
    world = await World.start();
    const { group } = world;
    const third = defined(group.servers[2], 'address');
    const [nowhere] = await freePorts(1);

    const few = await world.vrfs(['members', 'remove', third]);
    expect(few).toMatchObject({ code: 1, text: expect.stringMatching(/would have 2 members with a vote/) as string });
    const away = await world.vrfs(['members', 'add', `127.0.0.1:${defined(nowhere, 'port')}`]);
    expect(away).toMatchObject({ code: 3, text: expect.stringMatching(/does not answer/) as string });
    const none = await world.vrfs(['members', 'add', 'foo']);
    expect(none).toMatchObject({ code: 2, text: expect.stringMatching(/"foo" is not an address: write host:port/) as string });
    const nobody = await world.vrfs(['members', 'remove', '10.9.8.7:1']);
    expect(nobody).toMatchObject({ code: 2, text: expect.stringMatching(/has no member/) as string });

    // An empty directory is no fresh start; nor is one that is formatted anew for the same member.
    await group.signal(2, 'SIGKILL');
    rmSync(group.data(2), { recursive: true });
    group.start(2);
    expect(await group.exitCode(2)).not.toBe(0);
    const { format, inspect } = await import('../../server/data_directory.ts');
    const { clusterId } = await inspect(group.data(0));
    await format({ directory: group.data(2), clusterId, memberId: defined(group.configuration.members[2], 'member').id, configuration: group.configuration });
    group.start(2);
    await until('its refusal', BOUND_MS, () => (/comes with another data directory than before/.test(group.log(2) + group.log(0)) ? true : undefined));
    const status = await until('a status that says so', BOUND_MS, async () => {
      const { code, text } = await world?.vrfs(['status']) ?? { code: 0, text: '' };
      return /will not have this replica/.test(text) ? { code, text } : undefined;
    });
    expect(status).toMatchObject({ code: 1, text: expect.stringMatching(/replica 3: member [\d, ]+ will not have this replica: member 3 comes with another data directory than before/) as string });
    const refused = defined(await group.status(2), 'the status of a replica that is refused');
    // As it was formatted, though it takes itself for a new group's member: it was given nothing, and gave nothing.
    expect(refused).toMatchObject({ op: 0, commit: 0, executed: 0 });
    await world.ok('mkdir', '/still-there');
  });
});
