/** `vrfs serve --join`: a node beside a group of processes, that the group can take in. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { defined } from '../../lib/assert.ts';
import { freePorts } from './ports.ts';
import { CLI, until, type ProcessGroup, type StatusAnswer } from './process_group.ts';

const UP_MS = 60_000;

export class JoiningNode {
  readonly address: string;
  readonly #http: string;
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess, address: string, http: string) {
    this.#child = child;
    this.address = address;
    this.#http = http;
  }

  /** Runs when this resolves; it is no member yet. `options`: keys of the configuration. */
  static async start(group: ProcessGroup, name: string, options: Readonly<Record<string, number>>): Promise<JoiningNode> {
    const [port, http] = (await freePorts(2)).map((p) => `127.0.0.1:${p}`);
    const address = defined(port, 'port');
    const more = Object.entries(options).flatMap(([key, value]) => ['-o', `${key}=${value}`]);
    const data = join(group.directory, name);
    const child = spawn(process.execPath, [
      CLI, 'serve', '--data', data, '--log-file', `${data}.log`, '--join', group.servers.join(','), '--address', address, '--http-address', defined(http, 'port'), ...more,
    ], { stdio: 'ignore' });
    const node = new JoiningNode(child, address, defined(http, 'port'));
    await until('a node that answers', UP_MS, async () => ((await node.status()) === undefined ? undefined : true));
    return node;
  }

  async status(): Promise<StatusAnswer | undefined> {
    if (this.#child.exitCode !== null) throw new Error(`the node ended with exit code ${this.#child.exitCode}`);
    try {
      const answer = await fetch(`http://${this.#http}/v1/status`, { signal: AbortSignal.timeout(1000) });
      return answer.ok ? ((await answer.json()) as StatusAnswer) : undefined;
    } catch {
      return undefined; // not up: the caller polls within a bound
    }
  }

  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await ended;
  }
}
