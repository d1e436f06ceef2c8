/** A group of real replica processes on loopback, as `vrfs serve` runs them: for end-to-end tests and benchmarks. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { REPLICA_NODE_ARGUMENTS } from '../../cli/compiled_main.ts';
import { defined } from '../../lib/assert.ts';
import { epoch, memberId } from '../../lib/ids.ts';
import type { ServerConfigInput } from '../../server/config.ts';
import { format, newClusterId } from '../../server/data_directory.ts';
import type { DonorReport, RecoveryReport, StoreStatus } from '../../server/running_replica.ts';
import { configuration, type Configuration, type Durability } from '../../vr/configuration.ts';
import { freePorts } from './ports.ts';

/** The repository, whether this runs from the sources or from dist/. */
const HERE = fileURLToPath(new URL('.', import.meta.url));
export const REPOSITORY = HERE.includes('/dist/') ? join(HERE, '../../..') : join(HERE, '../..');
export const CLI = join(REPOSITORY, 'dist/cli/main.js');

/** What the tests read of GET /v1/status. */
export interface StatusAnswer {
  readonly status: string;
  readonly view: number;
  readonly isPrimary: boolean;
  readonly op: number;
  readonly commit: number;
  readonly executed: number;
  readonly checkpoint: { readonly op: number; readonly root: string };
  readonly recovery: RecoveryReport & { readonly stateBytes: number };
  readonly donor: DonorReport;
  readonly store: StoreStatus;
}

/** Where the replicas are, by index from 0. */
export interface GroupNetwork {
  readonly address: (index: number) => string;
  /** The command that the replica's own follows: what puts it there. */
  readonly launcher: (index: number) => readonly string[];
}
export const LOOPBACK: GroupNetwork = { address: () => '127.0.0.1', launcher: () => [] };

export interface GroupOptions {
  readonly replicas?: number;
  readonly durability?: Durability;
  /** Of each replica: what `vrfs serve --config` reads. */
  readonly config?: ServerConfigInput;
  /** For node, by replica index from 0. */
  readonly nodeArguments?: (index: number) => readonly string[];
  /** Default: this machine's loopback. */
  readonly network?: GroupNetwork;
}

/** Polls until `condition` gives something other than undefined; rejects with `what` after `withinMs`. */
export async function until<T>(what: string, withinMs: number, condition: () => Promise<T | undefined> | T | undefined, everyMs = 20): Promise<T> {
  const deadline = performance.now() + withinMs;
  for (;;) {
    const value = await condition();
    if (value !== undefined) return value;
    if (performance.now() > deadline) throw new Error(`not within ${withinMs} ms: ${what}`);
    await new Promise((resolve) => { setTimeout(resolve, everyMs); });
  }
}

export class ProcessGroup {
  readonly directory: string;
  readonly configuration: Configuration;
  readonly #options: GroupOptions;
  readonly #children: (ChildProcess | undefined)[] = [];

  private constructor(directory: string, group: Configuration, options: GroupOptions) {
    this.directory = directory;
    this.configuration = group;
    this.#options = options;
  }

  /** Formats the data directories; nothing runs yet. */
  static async create(options: GroupOptions = {}): Promise<ProcessGroup> {
    const count = options.replicas ?? 3;
    const directory = mkdtempSync(join(tmpdir(), 'vrfs-group-'));
    const { address } = options.network ?? LOOPBACK;
    const ports = (await freePorts(count * 2)).sort((a, b) => a - b);
    const members = Array.from({ length: count }, (_, i) => ({
      id: memberId(i + 1),
      role: 'voter' as const,
      address: `${address(i)}:${defined(ports[i], 'port')}`,
      httpAddress: `${address(i)}:${defined(ports[count + i], 'port')}`,
    }));
    const group = configuration(epoch(0), members, options.durability ?? 'disk');
    const clusterId = newClusterId();
    for (const [i, m] of group.members.entries()) {
      const data = join(directory, String(i + 1));
      await format({ directory: data, clusterId, memberId: m.id, configuration: group });
      writeFileSync(join(directory, `${i + 1}.json`), JSON.stringify({ data, logFile: join(directory, `${i + 1}.log`), ...options.config }));
    }
    return new ProcessGroup(directory, group, options);
  }

  get size(): number {
    return this.configuration.members.length;
  }
  get servers(): string[] {
    return this.configuration.members.map((m) => m.address);
  }
  http(index: number): string {
    return `http://${defined(this.configuration.members[index], 'member').httpAddress}`;
  }
  log(index: number): string {
    return readFileSync(join(this.directory, `${index + 1}.log`), 'utf8');
  }
  pid(index: number): number {
    return defined(this.#children[index]?.pid, `process of replica ${index + 1}`);
  }

  start(index: number): void {
    const output = openSync(join(this.directory, `${index + 1}.out`), 'a');
    const nodeArguments = this.#options.nodeArguments?.(index) ?? [];
    const launcher = (this.#options.network ?? LOOPBACK).launcher(index);
    const [program = '', ...rest] = [...launcher, process.execPath, ...REPLICA_NODE_ARGUMENTS, ...nodeArguments, CLI, 'serve', '--config', join(this.directory, `${index + 1}.json`)];
    this.#children[index] = spawn(program, rest, {
      stdio: ['ignore', output, output],
      cwd: this.directory,
    });
    closeSync(output);
  }

  startAll(): void {
    for (let i = 0; i < this.size; i++) this.start(i);
  }

  /** Sends a signal; for one that ends the process, resolves when it has ended. */
  async signal(index: number, signal: NodeJS.Signals): Promise<void> {
    const child = defined(this.#children[index], `process of replica ${index + 1}`);
    const ends = signal === 'SIGKILL' || signal === 'SIGTERM' || signal === 'SIGINT';
    const ended = ends && child.exitCode === null && child.signalCode === null ? once(child, 'exit') : undefined;
    child.kill(signal);
    await ended;
  }

  /** The exit code of a replica that ends by itself; rejects when it does not within the bound. */
  exitCode(index: number, withinMs = 60_000): Promise<number> {
    const child = defined(this.#children[index], `process of replica ${index + 1}`);
    return until(`replica ${index + 1} has ended`, withinMs, () => child.exitCode ?? undefined);
  }

  /** What a replica wrote to its standard output and error. */
  output(index: number): string {
    return readFileSync(join(this.directory, `${index + 1}.out`), 'utf8');
  }
  data(index: number): string {
    return join(this.directory, String(index + 1));
  }

  /** The status of one replica, or undefined while it does not answer. */
  async status(index: number): Promise<StatusAnswer | undefined> {
    try {
      const response = await fetch(`${this.http(index)}/v1/status`, { signal: AbortSignal.timeout(1000) });
      return response.ok ? ((await response.json()) as StatusAnswer) : undefined;
    } catch {
      return undefined; // not up, or paused: the caller polls within a bound
    }
  }

  /** The index of the replica that says it is the primary in the highest view. */
  async primary(withinMs = 20_000): Promise<number> {
    return until('a primary', withinMs, async () => {
      const all = await Promise.all(this.configuration.members.map((_, i) => this.status(i)));
      let best: number | undefined;
      let view = -1;
      for (const [i, s] of all.entries()) {
        if (s?.isPrimary === true && s.view > view) {
          best = i;
          view = s.view;
        }
      }
      return best;
    });
  }

  /** All of these replicas are normal in one view. */
  async normal(indexes: readonly number[], withinMs = 30_000): Promise<void> {
    await until('all replicas normal in one view', withinMs, async () => {
      const all = await Promise.all(indexes.map((i) => this.status(i)));
      const views = new Set(all.map((s) => s?.view));
      return all.every((s) => s?.status === 'normal') && views.size === 1 ? true : undefined;
    });
  }

  /** Stops every process and removes the data. */
  async destroy(): Promise<void> {
    for (const child of this.#children) {
      if (child === undefined || child.exitCode !== null || child.signalCode !== null) continue;
      const ended = once(child, 'exit');
      child.kill('SIGKILL');
      await ended;
    }
    rmSync(this.directory, { recursive: true, force: true });
  }
}
