/**
 * A replica in a process of its own: started, and started again with growing pauses when it dies. It has a session of its own, so that
 * Ctrl-C in the terminal reaches the supervisor alone, which stops things in order; when the supervisor
 * is killed, the replica sees its channel break and stops by itself.
 */
import { fork, type ChildProcess } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import type { FromReplica } from '../serve.ts';

export interface ReplicaProgram {
  readonly id: number;
  /** The compiled main of the command line. */
  readonly main: string;
  readonly config: string;
  readonly log: string;
}

const FIRST_PAUSE_MS = 500;
const MAX_PAUSE_MS = 30_000;
/** Who has run for so long has not died at its start. */
const HEALTHY_MS = 30_000;
const STOP_MS = 15_000;

export class SupervisedReplica {
  readonly program: ReplicaProgram;
  readonly #report: (line: string) => void;
  #child: ChildProcess | null = null;
  #stopping = false;
  #pause = FIRST_PAUSE_MS;
  #timer: NodeJS.Timeout | undefined;
  #exited: Promise<void> = Promise.resolve();

  constructor(program: ReplicaProgram, report: (line: string) => void) {
    this.program = program;
    this.#report = report;
  }

  get pid(): number | null {
    return this.#child?.pid ?? null;
  }

  /** Resolves when it serves; rejects with its reason when its first start fails. */
  start(): Promise<void> {
    return new Promise((resolve, reject) => {
      let settled = false;
      this.#spawn((outcome) => {
        if (settled) return;
        settled = true;
        if (outcome === null) resolve();
        else reject(new Error(outcome));
      });
    });
  }

  /** SIGTERM, and SIGKILL when that does not help. */
  async stop(): Promise<void> {
    this.#stopping = true;
    clearTimeout(this.#timer);
    const child = this.#child;
    if (child === null) return;
    child.kill('SIGTERM');
    const timer = setTimeout(() => {
      this.#report(`replica ${this.program.id} does not stop within ${STOP_MS / 1000} s: killed (its log keeps it consistent)`);
      child.kill('SIGKILL');
    }, STOP_MS);
    await this.#exited;
    clearTimeout(timer);
  }

  kill(): void {
    this.#stopping = true;
    clearTimeout(this.#timer);
    this.#child?.kill('SIGKILL');
  }

  /** `first` hears how the start went: null, or why it failed; only of the first process. */
  #spawn(first: ((failure: string | null) => void) | null): void {
    const { id, main, config, log } = this.program;
    const startedAt = Date.now();
    const fd = openSync(log, 'a');
    let child: ChildProcess;
    try {
      child = fork(main, ['serve', '--config', config], { detached: true, stdio: ['ignore', fd, fd, 'ipc'], execArgv: [] });
    } finally {
      closeSync(fd);
    }
    this.#child = child;
    let failure: string | null = null;
    child.on('message', (message: FromReplica) => {
      if (message.type === 'ready') first?.(null);
      else failure = message.message;
    });
    child.on('error', (error) => { failure = error.message; });
    this.#exited = new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        this.#child = null;
        resolve();
        if (this.#stopping) return;
        const how = `replica ${id} (pid ${child.pid ?? '?'}) ${failure === null ? `ended unexpectedly (${signal ?? `exit code ${code ?? '?'}`})` : `cannot run: ${failure}`}`;
        if (first !== null && failure !== null) {
          first(how);
          return;
        }
        this.#restart(how, Date.now() - startedAt);
        first?.(how);
      });
    });
  }

  #restart(how: string, livedMs: number): void {
    if (livedMs > HEALTHY_MS) this.#pause = FIRST_PAUSE_MS;
    this.#report(`${how}; see ${this.program.log}. Starting it again in ${this.#pause / 1000} s.`);
    this.#timer = setTimeout(() => { this.#spawn((failure) => { if (failure === null) this.#report(`replica ${this.program.id} runs again (pid ${this.pid ?? '?'})`); }); }, this.#pause);
    this.#pause = Math.min(MAX_PAUSE_MS, this.#pause * 2);
  }
}
