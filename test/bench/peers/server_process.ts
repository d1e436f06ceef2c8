/** One server of another system as a child process: it ends with this process, however that ends. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { LOOPBACK, type GroupNetwork } from '../../support/process_group.ts';

const STOP_MS = 5000;

export class ServerProcess {
  readonly name: string;
  readonly #output: string;
  readonly #child: ChildProcess;
  #failure: Error | null = null;

  /** `command`: the program and its arguments; `output`: the file for what it prints. */
  constructor(name: string, command: readonly string[], output: string, directory: string, index: number, network: GroupNetwork = LOOPBACK) {
    this.name = name;
    this.#output = output;
    const file = openSync(output, 'a');
    const [program = '', ...rest] = [...network.launcher(index), 'setpriv', '--pdeathsig', 'KILL', ...command];
    this.#child = spawn(program, rest, { stdio: ['ignore', file, file], cwd: directory });
    closeSync(file);
    this.#child.on('error', (error) => { this.#failure = error; });
  }

  get pid(): number {
    if (this.#child.pid === undefined) throw new Error(`${this.name} could not be started: ${this.#failure?.message ?? 'no process'}`);
    return this.#child.pid;
  }

  /** @throws when it has ended, with the end of what it printed */
  check(): void {
    const { exitCode, signalCode } = this.#child;
    if (this.#failure === null && exitCode === null && signalCode === null) return;
    const said = readFileSync(this.#output, 'utf8').trimEnd().split('\n').slice(-12).join('\n');
    throw new Error(`${this.name} ended (${this.#failure?.message ?? signalCode ?? `exit code ${exitCode ?? '?'}`}); it printed at last:\n${said}`);
  }

  async stop(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    const child = this.#child;
    if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill(signal);
    const timer = setTimeout(() => { child.kill('SIGKILL'); }, STOP_MS);
    await ended;
    clearTimeout(timer);
  }
}
