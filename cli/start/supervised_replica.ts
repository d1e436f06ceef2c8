/**
 * A replica in a process of its own: started, and started again with growing pauses when it dies, but not when it says that it has left
 * the group for good. It has a session of its own, so that
 * Ctrl-C in the terminal reaches the supervisor alone, which stops things in order; when the supervisor
 * is killed, the replica sees its channel break and stops by itself.
 */
import { fork, type ChildProcess } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { REPLICA_NODE_ARGUMENTS } from '../compiled_main.ts';
import { environmentName, type ConfigKey } from '../../server/config.ts';
import type { FromReplica } from '../serve.ts';

/** A replica that has said why it does not run. */
export class ReplicaRefusedError extends Error {
  override readonly name = 'ReplicaRefusedError';
  readonly exitCode: number | null;
  /** What to do, when that is not in the message. */
  readonly remedy: string | undefined;
  constructor(message: string, exitCode: number | null, remedy: string | undefined) {
    super(message);
    this.exitCode = exitCode;
    this.remedy = remedy;
  }
}

export interface ReplicaProgram {
  readonly id: number;
  /** The compiled main of the command line. */
  readonly main: string;
  readonly config: string;
  readonly log: string;
  /** Keys that the command line has said: they are in its file, and the environment must not overrule them. */
  readonly said: readonly ConfigKey[];
}

const FIRST_PAUSE_MS = 500;
const MAX_PAUSE_MS = 30_000;
/** Who has run for so long has not died at its start. */
const HEALTHY_MS = 30_000;
const STOP_MS = 15_000;

/** Keys that tell replicas apart are in each one's file, and the environment, which goes before it, is the same for all. */
const OWN_KEYS = ['data', 'memberId', 'clusterId', 'durability', 'listen', 'httpListen', 'logFile'] as const;

/** The environment of a replica: without the keys that only its own file may say, and those that the command line has `said`. */
export function replicaEnvironment(environment: NodeJS.ProcessEnv, said: readonly ConfigKey[]): NodeJS.ProcessEnv {
  const own = new Set<string>([...OWN_KEYS, ...said].map(environmentName));
  return Object.fromEntries(Object.entries(environment).filter(([name]) => !own.has(name)));
}

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

  /** Resolves when it serves; rejects with a ReplicaRefusedError when its first start fails. */
  start(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#spawn(resolve, reject);
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

  /**
   * `ready` is called when it serves. `refused`, only of the first start: what it says is wrong is for whoever starts the group. Later ones
   * are repeated, since whatever is in the way may go, unless the replica says that nothing will make it run again.
   */
  #spawn(ready: () => void, refused: ((error: ReplicaRefusedError) => void) | null): void {
    const { id } = this.program;
    const startedAt = Date.now();
    let child: ChildProcess;
    try {
      child = this.#fork();
    } catch (error) {
      // As when its directory has gone: that is this replica's trouble, and the others go on.
      this.#notStarted(error, refused);
      return;
    }
    this.#child = child;
    let failure: { readonly message: string; readonly remedy?: string; readonly final?: true } | null = null;
    child.on('message', (message: FromReplica) => {
      if (message.type === 'ready') ready();
      else failure = message;
    });
    this.#exited = new Promise((resolve) => {
      child.on('error', (error) => {
        failure = { message: error.message };
        // Of a process that was never made, as when node itself has gone, there is no exit.
        if (child.pid !== undefined) return;
        this.#child = null;
        resolve();
        this.#notStarted(error, refused);
      });
      child.once('exit', (code, signal) => {
        this.#child = null;
        resolve();
        if (this.#stopping) {
          refused?.(this.#stopped());
          return;
        }
        const how = `replica ${id} (pid ${child.pid ?? '?'}) ${failure === null ? `ended unexpectedly (${signal ?? `exit code ${code ?? '?'}`})` : `cannot run: ${failure.message}`}`;
        const remedy = failure?.remedy;
        if (failure?.final === true && refused === null) this.#giveUp(how, remedy);
        else if (refused === null || failure === null) this.#restart(how, Date.now() - startedAt);
        refused?.(new ReplicaRefusedError(how, code, remedy));
      });
    });
  }

  #notStarted(error: unknown, refused: ((error: ReplicaRefusedError) => void) | null): void {
    const how = `replica ${this.program.id} cannot be started: ${error instanceof Error ? error.message : String(error)}`;
    if (refused !== null) refused(this.#stopping ? this.#stopped() : new ReplicaRefusedError(how, null, undefined));
    else if (!this.#stopping) this.#restart(how, 0);
  }

  #stopped(): ReplicaRefusedError {
    return new ReplicaRefusedError(`replica ${this.program.id} was stopped before it served`, null, undefined);
  }

  #fork(): ChildProcess {
    const { main, config, log, said } = this.program;
    const fd = openSync(log, 'a');
    try {
      return fork(main, ['serve', '--config', config], {
        detached: true, stdio: ['ignore', fd, fd, 'ipc'], execArgv: [...REPLICA_NODE_ARGUMENTS], env: replicaEnvironment(process.env, said),
      });
    } finally {
      closeSync(fd);
    }
  }

  #giveUp(how: string, remedy: string | undefined): void {
    this.#report(`${how}; see ${this.program.log}.${remedy === undefined ? '' : ` Remedy: ${remedy}.`} It is not started again; the others go on.`);
  }

  #restart(how: string, livedMs: number): void {
    if (livedMs > HEALTHY_MS) this.#pause = FIRST_PAUSE_MS;
    this.#report(`${how}; see ${this.program.log}. Starting it again in ${this.#pause / 1000} s.`);
    this.#timer = setTimeout(() => {
      this.#spawn(() => { this.#report(`replica ${this.program.id} runs again (pid ${this.pid ?? '?'})`); }, null);
    }, this.#pause);
    this.#pause = Math.min(MAX_PAUSE_MS, this.#pause * 2);
  }
}
