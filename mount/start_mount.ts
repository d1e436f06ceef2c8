/**
 * Starts a mount in a process of its own and waits until it answers. For `vrfs mount`, `vrfs start` and the tests.
 */
import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { MountError } from './binding.ts';
import type { Binding, MountLog } from './binding.ts';
import { makeLibraryFolder } from './fuse_library.ts';
import { mountOptions, mountSource } from './mount_options.ts';
import type { MountOptions } from './mount_options.ts';
import type { FromMount, MountJob, ToMount } from './mount_messages.ts';
import { isOurs, mountAt, resolveMountpoint, unmountTree } from './mount_table.ts';
import { prepareMountpoint } from './prepare_mountpoint.ts';

export interface MountRequest {
  /** Addresses of replicas, "host:port". */
  readonly servers: readonly string[];
  /** Made when absent; must be empty. */
  readonly mountpoint: string;
  readonly options?: Partial<MountOptions>;
  /** How long a call of a program may wait for the group before it fails with ETIMEDOUT. Default 60 s. */
  readonly requestTimeoutMs?: number;
  /** The mount outlives this process. Default false: it ends with it. */
  readonly background?: boolean;
  /** Where the process logs (JSON lines, appended). Default: this process's stderr. */
  readonly logFile?: string;
  /** Of pino. Default 'info'. */
  readonly logLevel?: string;
  /** For warnings of the start itself. Default: silent. */
  readonly log?: MountLog;
  /** The program of the mount process. Tests give one over an in-memory namespace. */
  readonly program?: string;
}

export interface MountExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface MountHandle {
  readonly pid: number;
  readonly mountpoint: string;
  readonly binding: Binding['kind'];
  /** Unmounts and resolves when the process has ended. Idempotent. */
  unmount(): Promise<void>;
  /** Resolves when the process has ended, whoever ended it. */
  readonly exited: Promise<MountExit>;
}

const START_MS = 30_000;
/** After this the process is killed; the kernel then ends the mount, and its remains are cleared. */
const UNMOUNT_MS = 10_000;

const silent: MountLog = { info: () => undefined, warn: () => undefined, error: () => undefined };

/** @throws MountError with what is wrong and its remedy */
export async function startMount(request: MountRequest): Promise<MountHandle> {
  const log = request.log ?? silent;
  const mountpoint = await prepareMountpoint(request.mountpoint, log);
  const job: MountJob = {
    servers: request.servers,
    mountpoint,
    options: mountOptions(request.options),
    requestTimeoutMs: request.requestTimeoutMs ?? 60_000,
    background: request.background ?? false,
    logLevel: request.logLevel ?? 'info',
  };
  const library = makeLibraryFolder();
  try {
    const child = spawnProcess(request, library.environment);
    const exited = new Promise<MountExit>((resolve) => { child.once('exit', (code, signal) => { resolve({ code, signal }); }); });
    const binding = await waitUntilMounted(child, job, exited);
    if (job.background) {
      child.disconnect();
      child.unref();
    }
    return { pid: child.pid ?? 0, mountpoint, binding, exited, unmount: () => stop(child, mountpoint, exited, log) };
  } finally {
    library.remove();
  }
}

/** `vrfs unmount`: takes away a mount of ours that another process started; that process then ends by itself. @throws MountError */
export async function unmountPath(mountpoint: string, log: MountLog = silent): Promise<void> {
  const entry = mountAt(mountpoint);
  const target = resolveMountpoint(mountpoint);
  if (entry === undefined) throw new MountError(`nothing is mounted at ${target}`, 'the mounts of this machine: findmnt -t fuse.vrfs');
  if (!isOurs(entry)) throw new MountError(`${target} is a ${entry.type} from ${entry.source}, not a vrfs`, `umount ${target}`);
  await unmountTree(target, entry.source, log);
}

function spawnProcess(request: MountRequest, environment: { readonly LD_LIBRARY_PATH?: string }): ChildProcess {
  const logTo = request.logFile === undefined ? ('inherit' as const) : openSync(request.logFile, 'a');
  try {
    return fork(request.program ?? defaultProgram(), [], {
      env: { ...process.env, ...environment },
      stdio: ['ignore', logTo, logTo, 'ipc'],
      detached: request.background ?? false,
      execArgv: [],
    });
  } finally {
    if (typeof logTo === 'number') closeSync(logTo);
  }
}

/** The compiled main beside this file; when this file itself runs uncompiled (under a test runner), the one in dist/. */
function defaultProgram(): string {
  const here = fileURLToPath(import.meta.url);
  const folder = path.dirname(here);
  return here.endsWith('.ts') ? path.join(folder, '..', 'dist', 'mount', 'main.js') : path.join(folder, 'main.js');
}

function waitUntilMounted(child: ChildProcess, job: MountJob, exited: Promise<MountExit>): Promise<Binding['kind']> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      reject(new MountError(`the mount process did not answer within ${START_MS / 1000} s`, 'see its log'));
    }, START_MS);
    child.once('error', (error) => {
      clearTimeout(timer);
      reject(new MountError(`the mount process cannot be started: ${error.message}`, 'build first (npm run build)', { cause: error }));
    });
    child.once('message', (message: FromMount) => {
      clearTimeout(timer);
      if (message.type === 'mounted') resolve(message.binding);
      else reject(new MountError(message.what, message.remedy));
    });
    void exited.then(({ code, signal }) => {
      clearTimeout(timer);
      reject(new MountError(`the mount process ended before it had mounted (${signal ?? `code ${code}`})`, 'see its log'));
    });
    send(child, { type: 'mount', job });
  });
}

async function stop(child: ChildProcess, mountpoint: string, exited: Promise<MountExit>, log: MountLog): Promise<void> {
  if (child.connected) send(child, { type: 'unmount' });
  else child.kill('SIGTERM');
  const timer = setTimeout(() => {
    log.warn({ mountpoint, pid: child.pid }, 'the mount process does not end: killed');
    child.kill('SIGKILL');
  }, UNMOUNT_MS);
  await exited;
  clearTimeout(timer);
  await unmountTree(mountpoint, mountSource(child.pid ?? 0), log);
}

function send(child: ChildProcess, message: ToMount): void {
  child.send(message, (error) => {
    // A child that has gone is seen by its exit.
    if (error !== null && child.connected) child.emit('error', error);
  });
}
