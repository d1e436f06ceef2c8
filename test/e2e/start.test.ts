/** `vrfs start` as a user meets it: real processes, a real mount, and what can go wrong. Needs a build, and /dev/fuse. */
import { fork, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';

const MAIN = resolve('dist/cli/main.js');
let directory: string;
let port: number;
/** What a test that failed has left running would take ports and mount away from those after it. */
const started = new Set<Started>();

class Started {
  readonly child: ChildProcess;
  output = '';
  readonly exited: Promise<number | null>;

  constructor(...args: string[]) {
    this.child = spawn(process.execPath, [MAIN, 'start', ...args], { cwd: directory, stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [this.child.stdout, this.child.stderr]) stream?.on('data', (chunk: Buffer) => { this.output += chunk.toString(); });
    this.exited = new Promise((r) => { this.child.once('exit', (code) => { r(code); }); });
    started.add(this);
    void this.exited.then(() => started.delete(this));
  }

  async says(text: string, boundMs = 60_000): Promise<void> {
    await until(() => this.output.includes(text), boundMs, () => `'${text}' in:\n${this.output}`);
  }
  async serves(): Promise<void> {
    await this.says('Ctrl-C stops everything.');
  }
  async stop(): Promise<number | null> {
    this.child.kill('SIGINT');
    return this.exited;
  }
}

async function until(condition: () => boolean, boundMs: number, what: () => string): Promise<void> {
  const end = Date.now() + boundMs;
  while (!condition()) {
    if (Date.now() > end) throw new Error(`not within ${boundMs} ms: ${what()}`);
    await new Promise((r) => setTimeout(r, 20));
  }
}

function vrfs(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  const servers = [0, 1, 2].map((i) => `127.0.0.1:${port + i}`).join(',');
  return spawnSync(process.execPath, [MAIN, ...args], { cwd: directory, encoding: 'utf8', env: { ...process.env, VRFS_SERVERS: servers } });
}

function pidOf(member: number): number {
  return (JSON.parse(readFileSync(join(directory, 'data', String(member), 'LOCK'), 'utf8')) as { pid: number }).pid;
}

/** Children of a process, by the program that they run. */
function childrenOf(pid: number): number[] {
  return spawnSync('ps', ['-o', 'pid=', '--ppid', String(pid)], { encoding: 'utf8' }).stdout.split('\n').map(Number).filter((n) => n > 0);
}

function mounted(): boolean {
  return readFileSync('/proc/self/mountinfo', 'utf8').includes(` ${join(directory, 'mnt')} `);
}

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'vrfs-start-'));
  const server = createServer();
  await new Promise<void>((r) => { server.listen(0, '127.0.0.1', r); });
  const address = server.address();
  // Below the range that the kernel gives out, so that nothing takes the neighbours meanwhile.
  port = 12_000 + ((typeof address === 'object' && address !== null ? address.port : 0) % 8000);
  await new Promise<void>((r) => { server.close(() => { r(); }); });
});
afterEach(async () => {
  for (const left of started) await left.stop();
});
afterAll(() => {
  if (mounted()) spawnSync('umount', ['-l', join(directory, 'mnt')]);
  rmSync(directory, { recursive: true, force: true });
});

describe('vrfs start', () => {
  it('makes a group, mounts it, and stops cleanly', async () => {
    const group = new Started('--port', String(port), '--http-port', String(port + 100));
    await group.serves();
    expect(group.output).toMatch(/^mounted at /m);
    writeFileSync(join(directory, 'mnt', 'hello'), 'hello\n');
    expect(vrfs('cat', '/hello')).toMatchObject({ status: 0, stdout: 'hello\n' });
    const status = vrfs('status');
    expect(status.status).toBe(0);
    expect(status.stdout).toMatch(/primary/);
    const answer = await fetch(`http://127.0.0.1:${port + 101}/v1/health`);
    expect(answer.status).toBe(200);
    expect(await group.stop()).toBe(0);
    expect(group.output).toContain('The next start finds everything as it is.');
    expect(mounted()).toBe(false);
    expect(existsSync(join(directory, 'data', '1', 'LOCK'))).toBe(false);
  });

  it('of two first starts at the same moment one makes the group', async () => {
    const ports = ['--data', 'twice', '--no-mount', '--port', String(port + 10), '--http-port', String(port + 110)];
    const both = [new Started(...ports), new Started(...ports)];
    const first = await Promise.race(both.map(async (s, i) => { await s.exited; return i; }));
    const [loser, winner] = first === 0 ? both : [both[1], both[0]];
    expect(await loser?.exited).toBe(5);
    expect(loser?.output).toMatch(/is run by another 'vrfs start', pid \d+/);
    await winner?.serves();
    expect(await winner?.stop()).toBe(0);
  });

  it('finds everything again, and brings back what dies', async () => {
    const group = new Started();
    await group.serves();
    expect(readFileSync(join(directory, 'mnt', 'hello'), 'utf8')).toBe('hello\n');
    const second = new Started();
    expect(await second.exited).toBe(5);
    expect(second.output).toMatch(/is run by another 'vrfs start', pid \d+/);
    process.kill(pidOf(2), 'SIGKILL');
    await group.says('replica 2 runs again');
    expect(group.output).toMatch(/replica 2 \(pid \d+\) ended unexpectedly \(SIGKILL\); see .*replica\.log/);
    writeFileSync(join(directory, 'mnt', 'during'), 'x');
    await until(() => vrfs('status').status === 0, 30_000, () => vrfs('status').stdout);
    expect(await group.stop()).toBe(0);
  });

  it('cleans up after a supervisor that was killed', async () => {
    const group = new Started();
    await group.serves();
    writeFileSync(join(directory, 'mnt', 'before'), 'kept');
    group.child.kill('SIGKILL');
    await group.exited;
    const again = new Started();
    await again.serves();
    expect(again.output).toMatch(/^mounted at /m);
    expect(readFileSync(join(directory, 'mnt', 'before'), 'utf8')).toBe('kept');
    // And now all of them, the mount's process included: a stale mount is left.
    const all = [again.child.pid ?? 0, ...childrenOf(again.child.pid ?? 0)];
    expect(all).toHaveLength(1 + 3 + 1);
    for (const pid of all) process.kill(pid, 'SIGKILL');
    await again.exited;
    const third = new Started();
    await third.serves();
    expect(readFileSync(join(directory, 'mnt', 'before'), 'utf8')).toBe('kept');
    expect(await third.stop()).toBe(0);
    expect(mounted()).toBe(false);
  });

  it('leaves no replica behind when it is killed while its replicas start', async () => {
    const alone = join(directory, 'alone');
    const addresses = [1, 2, 3].map((i) => `127.0.0.1:${port + 20 + i}/127.0.0.1:${port + 120 + i}`);
    writeFileSync(join(directory, 'alone.json'), vrfs('new-cluster', ...addresses).stdout);
    expect(vrfs('format', '--cluster', 'alone.json', '--member', '1', '--data', 'alone').status).toBe(0);
    const replica = fork(MAIN, ['serve', '--data', alone], { stdio: ['ignore', 'ignore', 'ignore', 'ipc'] });
    const exited = once(replica, 'exit');
    // What it sees of a supervisor that has gone, before it has loaded anything that could listen for it.
    replica.disconnect();
    expect(await exited).toEqual([0, null]);
  });

  it('ends in order when it is told to before its HTTP API is up, and says which port of that is in use', async () => {
    const replicaPort = port + 31;
    const addresses = [1, 2, 3].map((i) => `127.0.0.1:${replicaPort + i - 1}/127.0.0.1:${replicaPort + 100 + i}`);
    writeFileSync(join(directory, 'early.json'), vrfs('new-cluster', ...addresses).stdout);
    expect(vrfs('format', '--cluster', 'early.json', '--member', '1', '--data', 'early').status).toBe(0);
    const replica = spawn(process.execPath, [MAIN, 'serve', '--data', join(directory, 'early')], { stdio: ['ignore', 'pipe', 'ignore'] });
    const exited = once(replica, 'exit');
    let log = '';
    replica.stdout.on('data', (chunk: Buffer) => { log += chunk.toString(); });
    await until(() => log.includes('"msg":"started"'), 60_000, () => `that it takes part in:\n${log}`);
    replica.kill('SIGTERM');
    expect(await exited).toEqual([0, null]);
    expect(log).toContain('"msg":"replica stopped"');
    const server = createServer();
    server.listen(replicaPort + 101, '127.0.0.1');
    await once(server, 'listening');
    const refused = vrfs('serve', '--data', 'early', '--log-level', 'silent');
    server.close();
    expect([refused.status, refused.stderr]).toEqual([5, expect.stringMatching(/^vrfs: 127\.0\.0\.1:\d+ is in use by another process: stop that one, or choose another port \(--http-listen\)/)]);
  });

  it('says which port is in use, and goes on without a mount where there can be none', async () => {
    const server = createServer();
    server.listen(port + 1, '127.0.0.1');
    await once(server, 'listening');
    const refused = new Started();
    expect(await refused.exited).toBe(5);
    expect(refused.output).toContain(`port ${port + 1} of replica 2 is in use by another process`);
    expect(refused.output).toContain('remedy: ');
    await new Promise<void>((r) => { server.close(() => { r(); }); });
    writeFileSync(join(directory, 'mnt', 'in the way'), '');
    const unmounted = new Started();
    await unmounted.serves();
    expect(unmounted.output).toMatch(/not mounted: .*mnt is not empty.* Remedy: /);
    expect(await unmounted.stop()).toBe(0);
    const insisting = new Started('--mount', './mnt');
    expect(await insisting.exited).toBe(5);
    rmSync(join(directory, 'mnt', 'in the way'));
  });

  it('goes on with the others when the directory of one goes, and refuses to make it anew', async () => {
    const data = ['--data', './three', '--no-mount'];
    const group = new Started(...data, '--port', String(port + 20), '--http-port', String(port + 120));
    await group.serves();
    const three = join(directory, 'three', '3');
    const { pid } = JSON.parse(readFileSync(join(three, 'LOCK'), 'utf8')) as { pid: number };
    renameSync(three, join(directory, 'three-3-elsewhere'));
    process.kill(pid, 'SIGKILL');
    await group.says('replica 3 cannot be started: ENOENT');
    const servers = ['--server', [20, 21].map((i) => `127.0.0.1:${port + i}`).join(',')];
    expect(vrfs('mkdir', '/still', ...servers)).toMatchObject({ status: 0 });
    group.child.kill('SIGINT');
    group.child.kill('SIGTERM');
    expect(await group.exited).toBe(130);
    const without = new Started(...data);
    expect(await without.exited).toBe(5);
    expect(without.output).toMatch(/replica 3, .*three\/3, is not there any more\n {2}remedy: put the directory back/);
    renameSync(join(directory, 'three-3-elsewhere'), three);
    const again = new Started(...data);
    await again.serves();
    expect(vrfs('ls', '/', ...servers)).toMatchObject({ status: 0, stdout: 'still\n' });
    expect(await again.stop()).toBe(0);
  });

  it('says that a group in memory does not outlive its processes', async () => {
    const data = ['--data', './memory', '--no-mount'];
    const group = new Started(...data, '--durability', 'memory', '--checkpoint-ops', '10', '--port', String(port + 10), '--http-port', String(port + 110));
    await group.serves();
    expect(group.output).toContain('everything after the newest checkpoint is lost when all replicas stop');
    expect(vrfs('mkdir', ...Array.from({ length: 25 }, (_, i) => `/d${i}`), '--server', `127.0.0.1:${port + 10}`)).toMatchObject({ status: 0 });
    const checkpointOp = (): number => (JSON.parse(vrfs('status', '--json', '--server', `127.0.0.1:${port + 10}`).stdout) as { status: { checkpoint: { op: number } } }[])[0]?.status.checkpoint.op ?? 0;
    await until(() => checkpointOp() > 0, 30_000, () => 'a checkpoint');
    expect(await group.stop()).toBe(0);
    const again = new Started(...data);
    expect(await again.exited).toBe(5);
    expect(again.output).toContain('what it acknowledged after its newest checkpoint was in their memory and is gone');
    expect(again.output).toContain(`vrfs revive --group ${join(directory, 'memory')} says which one that is and what is lost`);

    const servers = ['--server', `127.0.0.1:${port + 10}`];
    expect(vrfs('revive', '--group', 'memory')).toMatchObject({ status: 1, stdout: expect.stringMatching(/What is lost when the group goes on from op \d+:\n/) as string });
    expect(vrfs('revive', '--group', 'memory', '--accept-loss')).toMatchObject({ status: 0, stdout: expect.stringContaining('is revived: it is group') as string });
    const revived = new Started(...data);
    await revived.serves();
    expect(vrfs('ls', '/', ...servers).stdout).toContain('d1\n');
    expect(vrfs('mkdir', '/after', ...servers)).toMatchObject({ status: 0 });
    expect(await revived.stop()).toBe(0);
  });
});
