/**
 * A group of real replica processes on loopback, in a directory of its own that goes with it. The processes are children with an IPC channel:
 * they end when this process does, however it ends.
 */
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as after } from 'node:timers/promises';
import { request } from 'undici';
import { z } from 'zod';
import { REPLICA_NODE_ARGUMENTS } from '../compiled_main.ts';
import { defined } from '../../lib/assert.ts';
import { epoch, memberId } from '../../lib/ids.ts';
import { format, newClusterId } from '../../server/data_directory.ts';
import { configuration, type Durability, type Member } from '../../vr/configuration.ts';
import { EnvironmentError } from '../failure.ts';
import type { FromReplica } from '../serve.ts';

const HOST = '127.0.0.1';
const START_MS = 60_000;
const POLL_MS = 50;
const ANSWER_MS = 2000;

const Figures = z.looseObject({ records: z.number(), recordBytes: z.number(), nodeBytes: z.number(), busyMs: z.number(), longestMs: z.number(), wallMs: z.number() });
const Status = z.looseObject({
  healthy: z.boolean(), isPrimary: z.boolean(), executed: z.number(),
  checkpointCost: z.looseObject({ takes: z.number(), total: Figures, logBytesSince: z.number() }),
  journal: z.looseObject({ bytes: z.number() }),
  recovery: z.looseObject({ startedAt: z.number(), caughtUpMs: z.number().nullable(), bytesReceived: z.number(), logBytesReceived: z.number(), transfers: z.number() }),
});
/** The part of GET /v1/status that is measured by. */
export type ReplicaFigures = z.infer<typeof Status>;

export interface LocalGroupOptions {
  readonly replicas: number;
  readonly durability: Durability;
  /** Where the directory of the group is made. */
  readonly parent: string;
  /** Of each replica (server/config.ts). */
  readonly config: Readonly<Record<string, unknown>>;
  /** The compiled main of the command line. */
  readonly main: string;
  /** Ends every wait. */
  readonly signal: AbortSignal;
}

/** What was waited for has not come; the replica runs. */
export class NotInTime extends EnvironmentError {}

/** Free at this moment; whoever takes one before it is used makes the start fail, loudly. */
async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(Array.from({ length: count }, async () => {
    const server = createServer().listen(0, HOST);
    await once(server, 'listening');
    return server;
  }));
  const ports = servers.map((s) => (s.address() as AddressInfo).port);
  await Promise.all(servers.map((s) => new Promise((done) => { s.close(done); })));
  // Replicas take their turn as primary by address: the same order in each run.
  return ports.sort((a, b) => a - b);
}

export class LocalGroup {
  readonly directory: string;
  readonly members: readonly Member[];
  readonly #options: LocalGroupOptions;
  readonly #children: (ChildProcess | undefined)[] = [];
  /** Why the last process of each has ended. */
  readonly #ends: (EnvironmentError | undefined)[] = [];

  private constructor(directory: string, members: readonly Member[], options: LocalGroupOptions) {
    this.directory = directory;
    this.members = members;
    this.#options = options;
  }

  /** Formatted and started; resolves when each replica listens. What was made is gone again when it rejects. */
  static async start(options: LocalGroupOptions): Promise<LocalGroup> {
    const { replicas, durability, parent, config } = options;
    const directory = await mkdtemp(join(parent, 'vrfs-tune-'));
    const ports = await freePorts(replicas * 2);
    const port = (i: number): string => `${HOST}:${defined(ports[i], 'port')}`;
    const members = Array.from({ length: replicas }, (_, i): Member => ({ id: memberId(i + 1), role: 'voter', address: port(i), httpAddress: port(replicas + i) }));
    const group = new LocalGroup(directory, members, options);
    try {
      const made = { clusterId: newClusterId(), configuration: configuration(epoch(0), members, durability) };
      for (const { id } of members) {
        const data = join(directory, String(id));
        await format({ directory: data, memberId: id, ...made });
        await writeFile(join(directory, `${id}.json`), JSON.stringify({ ...config, data, logLevel: 'warn', logFile: join(directory, `${id}.log`) }));
      }
      await Promise.all(members.map((_, i) => group.startReplica(i)));
      return group;
    } catch (error) {
      await group.destroy();
      throw error;
    }
  }

  get servers(): string[] {
    return this.members.map((m) => m.address);
  }

  /** Resolves when it listens; rejects with what it says is wrong. */
  async startReplica(index: number): Promise<void> {
    const { signal } = this.#options;
    signal.throwIfAborted();
    const id = index + 1;
    const output = join(this.directory, `${id}.out`);
    const fd = openSync(output, 'a');
    // A session of its own: Ctrl-C in the terminal reaches this process alone, which ends things in order.
    const child = fork(this.#options.main, ['serve', '--config', join(this.directory, `${id}.json`)], {
      detached: true, stdio: ['ignore', fd, fd, 'ipc'], execArgv: [...REPLICA_NODE_ARGUMENTS], env: ownEnvironment(),
    });
    closeSync(fd);
    this.#children[index] = child;
    this.#ends[index] = undefined;
    let failure: string | null = null;
    const ready = new Promise<void>((resolve, reject) => {
      child.on('message', (message: FromReplica) => {
        if (message.type === 'ready') resolve();
        else failure = message.message;
      });
      child.once('error', reject);
      child.once('exit', (code, killed) => {
        const end = new EnvironmentError(`replica ${id} of the group that is measured has ended (${killed ?? `exit code ${code ?? '?'}`})${failure === null ? '' : `: ${failure}`}`, 'its directory has gone with it; vrfs start shows the same with its log kept');
        // Later than its start whoever asks it is told.
        this.#ends[index] = end;
        reject(end);
      });
    });
    ready.catch(() => undefined);
    await within(ready, START_MS, `replica ${id} does not start`, signal);
  }

  /** kill -9; resolves when it has ended. */
  async killReplica(index: number): Promise<void> {
    const child = defined(this.#children[index], `process of replica ${index + 1}`);
    // Without a pid it was never there.
    if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  }

  /** Undefined while it does not answer. */
  async figures(index: number): Promise<ReplicaFigures | undefined> {
    const { httpAddress } = defined(this.members[index], 'member');
    let body: unknown;
    try {
      const answer = await request(`http://${httpAddress}/v1/status`, { signal: AbortSignal.any([this.#options.signal, AbortSignal.timeout(ANSWER_MS)]) });
      body = await answer.body.json();
    } catch {
      this.#options.signal.throwIfAborted();
      // It is starting, or too busy: asked again by whoever wants to know.
      return undefined;
    }
    return Status.parse(body);
  }

  /** Of all replicas; waits for each. */
  async allFigures(): Promise<ReplicaFigures[]> {
    return await Promise.all(this.members.map((_, i) => this.until(i, 'an answer', () => true)));
  }

  /** Until what the replica says of itself is so; rejects with NotInTime, or with why its process has ended. */
  async until(index: number, what: string, condition: (f: ReplicaFigures) => boolean, ms = START_MS): Promise<ReplicaFigures> {
    const deadline = performance.now() + ms;
    for (;;) {
      const figures = await this.figures(index);
      if (figures !== undefined && condition(figures)) return figures;
      const end = this.#ends[index];
      if (end !== undefined) throw end;
      if (performance.now() >= deadline) throw new NotInTime(`replica ${index + 1}: not within ${ms / 1000} s: ${what}\n${await this.#logTail(index)}`, 'is the machine busy with something else? Try fewer operations in flight: --in-flight');
      await after(POLL_MS, undefined, { signal: this.#options.signal });
    }
  }

  async #logTail(index: number): Promise<string> {
    const log = await readFile(join(this.directory, `${index + 1}.log`), 'utf8').catch(() => '');
    return log.trimEnd().split('\n').slice(-5).join('\n');
  }

  /** Ends all processes, at once, and removes the directory. Idempotent. */
  async destroy(): Promise<void> {
    await Promise.all(this.#children.map((child, i) => (child === undefined ? undefined : this.killReplica(i))));
    await rm(this.directory, { recursive: true, force: true });
  }
}

/** Only what is measured decides how the replicas are configured: VRFS_* of this environment would be the same for all runs, and wins over their files. */
function ownEnvironment(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('VRFS_')));
}

async function within<T>(promise: Promise<T>, ms: number, what: string, signal: AbortSignal): Promise<T> {
  const stop = new AbortController();
  const timer = after(ms, undefined, { signal: AbortSignal.any([signal, stop.signal]) }).then(() => {
    throw new EnvironmentError(`${what} within ${ms / 1000} s`, 'is the machine busy with something else?');
  });
  try {
    return await Promise.race([promise, timer]);
  } finally {
    stop.abort();
    // Whoever lost the race is not waited for.
    timer.catch(() => undefined);
  }
}
