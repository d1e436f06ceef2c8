/** The replicas of a run: `vrfs serve`, each in its network namespace, over real files. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { request } from 'undici';
import { defined } from '../../lib/assert.ts';
import { epoch, memberId } from '../../lib/ids.ts';
import { format, newClusterId } from '../../server/data_directory.ts';
import { configuration } from '../../vr/configuration.ts';
import { CLI, until, type StatusAnswer } from '../support/process_group.ts';
import type { Namespaces } from './namespaces.ts';
import type { RunSettings } from './settings.ts';

/** Few, so that state transfers are part of a run. */
const CHECKPOINT_OPS = 300;
const NORMAL_WITHIN_MS = 60_000;

/** Replicas count from 1. */
export class HistoryCluster {
  readonly #namespaces: Namespaces;
  readonly #directory: string;
  readonly #children = new Map<number, ChildProcess>();
  readonly replicas: readonly number[];
  /** Replicas that ended though nobody killed them, with how. */
  readonly unexpected: string[] = [];

  private constructor(directory: string, namespaces: Namespaces, count: number) {
    this.#directory = directory;
    this.#namespaces = namespaces;
    this.replicas = Array.from({ length: count }, (_, i) => i + 1);
  }

  /** Formatted, not started; the last ones are the witnesses. `directory` is empty, and belongs to the caller. */
  static async format(directory: string, namespaces: Namespaces, settings: Pick<RunSettings, 'replicas' | 'witnesses' | 'durability'>): Promise<HistoryCluster> {
    const cluster = new HistoryCluster(directory, namespaces, settings.replicas);
    const voters = settings.replicas - settings.witnesses;
    const members = cluster.replicas.map((r) => ({ id: memberId(r), role: r <= voters ? 'voter' as const : 'witness' as const, address: `${namespaces.address(r)}:7101`, httpAddress: `${namespaces.address(r)}:7201` }));
    const made = configuration(epoch(0), members, settings.durability);
    const clusterId = newClusterId();
    for (const m of made.members) {
      const data = join(directory, String(m.id));
      await format({ directory: data, clusterId, memberId: m.id, configuration: made });
      writeFileSync(join(directory, `${m.id}.json`), JSON.stringify({ data, logFile: join(directory, `${m.id}.log`), checkpointOps: CHECKPOINT_OPS }));
    }
    return cluster;
  }

  get quorum(): number {
    return Math.floor(this.replicas.length / 2) + 1;
  }
  get urls(): string[] {
    return this.replicas.map((r) => this.url(r));
  }
  url(replica: number): string {
    return `http://${this.#namespaces.address(replica)}:7201`;
  }

  start(replica: number): void {
    const output = openSync(join(this.#directory, `${replica}.out`), 'a');
    // ip and setpriv become the replica: the child's pid is its pid, and it dies with this process.
    const child = spawn('ip', [
      'netns', 'exec', this.#namespaces.of(replica), 'setpriv', '--pdeathsig', 'KILL',
      process.execPath, CLI, 'serve', '--config', join(this.#directory, `${replica}.json`),
    ], { stdio: ['ignore', output, output], cwd: this.#directory });
    closeSync(output);
    this.#children.set(replica, child);
    child.on('error', (error) => { this.unexpected.push(`replica ${replica} could not be started: ${error.message}`); });
    child.on('exit', (code, signal) => {
      if (this.#children.get(replica) !== child) return;
      this.#children.delete(replica);
      this.unexpected.push(`replica ${replica} ended by itself, with ${signal ?? `exit code ${code ?? '?'}`}`);
    });
  }

  /** kill -9; resolves when it has ended. */
  async kill(replica: number): Promise<void> {
    const child = this.#children.get(replica);
    if (child === undefined) return;
    this.#children.delete(replica);
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  }

  pause(replica: number): void {
    this.#children.get(replica)?.kill('SIGSTOP');
  }
  resume(replica: number): void {
    this.#children.get(replica)?.kill('SIGCONT');
  }

  async killAll(): Promise<void> {
    await Promise.all(this.replicas.map((r) => this.kill(r)));
  }

  async status(replica: number): Promise<StatusAnswer | undefined> {
    try {
      const answer = await request(`${this.url(replica)}/v1/status`, { headers: { 'x-vrfs-uid': '0' }, signal: AbortSignal.timeout(500) });
      if (answer.statusCode !== 200) {
        await answer.body.dump();
        return undefined;
      }
      return (await answer.body.json()) as StatusAnswer;
    } catch {
      return undefined; // it is down, paused or cut off: that is what faults are for
    }
  }

  /** The one that says so in the highest view; a deposed one may still believe it. */
  async primary(): Promise<number | undefined> {
    const all = await Promise.all(this.replicas.map(async (r) => ({ replica: r, status: await this.status(r) })));
    const primaries = all.filter((a) => a.status?.isPrimary === true).sort((a, b) => defined(b.status, 'status').view - defined(a.status, 'status').view);
    return primaries[0]?.replica;
  }

  /** One that could not start, or has stopped, does not come back: what it said is worth more than the end of the time. */
  #checkAlive(replicas: readonly number[]): void {
    const gone = replicas.filter((r) => !this.#children.has(r));
    if (gone.length === 0) return;
    throw new Error(`${this.unexpected.join('; ')}; see ${gone.map((r) => join(this.#directory, `${r}.out and ${r}.log`)).join(', ')}`);
  }

  /** All of them answer over HTTP, whatever their status. Rejects when they do not in time. */
  async answering(replicas: readonly number[]): Promise<void> {
    await until(`replicas ${replicas.join(', ')} answer after their start`, NORMAL_WITHIN_MS, async () => {
      this.#checkAlive(replicas);
      const all = await Promise.all(replicas.map((r) => this.status(r)));
      return all.every((s) => s !== undefined) ? true : undefined;
    });
  }

  /** All of them are normal in one view. Rejects when they are not in time. */
  async normal(replicas: readonly number[] = this.replicas): Promise<void> {
    await until(`replicas ${replicas.join(', ')} normal in one view`, NORMAL_WITHIN_MS, async () => {
      this.#checkAlive(replicas);
      const all = await Promise.all(replicas.map((r) => this.status(r)));
      return all.every((s) => s?.status === 'normal') && new Set(all.map((s) => s?.view)).size === 1 ? true : undefined;
    });
  }
}
