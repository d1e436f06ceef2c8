/**
 * The process that holds a mount: connects, mounts, serves until it is told to stop (SIGTERM, SIGINT, the message 'unmount', the end of its starter) or the
 * mount is taken away from outside; unmounts, and ends.
 */
import type { Logger } from 'pino';
import { ROOT_INO } from '../fsservice/operations.ts';
import { EMPTY } from '../lib/bytes.ts';
import { logTo } from '../lib/log_to.ts';
import { MountError } from './binding.ts';
import type { Binding, MountLog } from './binding.ts';
import { CallerClient } from './caller_client.ts';
import { CallerCredentials } from './caller_credentials.ts';
import { chooseBinding } from './choose_binding.ts';
import type { FromMount, MountJob, ToMount } from './mount_messages.ts';
import type { NamespaceClient } from './namespace_client.ts';
import { Vfs } from './vfs.ts';

const STANDARD_ERROR = 2;

export type Connect = (job: MountJob) => Promise<NamespaceClient>;

export interface RunningMount {
  readonly binding: Binding['kind'];
  /** Unmounts, lets go of the open files, closes the client. Idempotent. */
  stop(): Promise<void>;
  /** Resolves when the mount has gone, for whatever reason. */
  readonly ended: Promise<void>;
}

/** Mounts in this process. For fuse-native it has to have been started by `startMount`. @throws MountError */
export async function runMount(job: MountJob, connect: Connect, log: MountLog): Promise<RunningMount> {
  const client = await connectOrThrow(job, connect);
  const callers = new CallerCredentials();
  const vfs = new Vfs(new CallerClient(client, callers), { requestTimeoutMs: job.requestTimeoutMs });
  let binding: Binding;
  try {
    await answersOrThrow(vfs, job);
    binding = chooseBinding(vfs, callers, job.mountpoint, job.options, log);
    await binding.mount();
  } catch (error) {
    await client.close();
    throw error;
  }
  const ended = binding.ended.then(async () => {
    vfs.releaseAll();
    await client.close();
  });
  return {
    binding: binding.kind,
    ended,
    stop: async () => {
      await binding.unmount();
      await ended;
    },
  };
}

const GROUP_REMEDY = 'check that a majority of the replicas runs and that the servers given are theirs (vrfs status)';

async function connectOrThrow(job: MountJob, connect: Connect): Promise<NamespaceClient> {
  try {
    return await connect(job);
  } catch (error) {
    throw noAnswer(job, error);
  }
}

/** A mount whose group does not answer would hang the first program that looks in: better to say so now. */
async function answersOrThrow(vfs: Vfs, job: MountJob): Promise<void> {
  let root;
  try {
    root = await vfs.getattr({ uid: 0, gid: 0, groups: [] }, { dir: ROOT_INO, path: EMPTY });
  } catch (error) {
    throw noAnswer(job, error);
  }
  if (!root.ok) throw new MountError(`the root directory cannot be read (errno ${root.errno})`, GROUP_REMEDY);
}

function noAnswer(job: MountJob, error: unknown): MountError {
  return new MountError(`no answer from ${job.servers.join(', ')}: ${error instanceof Error ? error.message : String(error)}`, GROUP_REMEDY, { cause: error });
}

/** The main of a mount process: takes its job from the starter, and reports. */
export function mountProcessMain(connect: Connect): void {
  // Only the dynamic linker of this process was meant to see it, not the programs that are started from here.
  delete process.env['LD_LIBRARY_PATH'];
  process.once('message', (message: ToMount) => {
    if (message.type !== 'mount') throw new MountError(`the first message is 'mount', not '${message.type}'`, 'use startMount');
    const log = logTo(STANDARD_ERROR, { name: 'vrfs-mount', level: message.job.logLevel });
    serve(message.job, connect, log).then(
      (code) => { process.exit(code); },
      (error: unknown) => {
        log.error({ err: error }, 'the mount ends');
        process.exit(1);
      },
    );
  });
}

/** Serves one job to its end. The value is the exit code. */
async function serve(job: MountJob, connect: Connect, log: Logger): Promise<number> {
  let stop: () => void = () => undefined;
  const asked = new Promise<void>((resolve) => { stop = resolve; });
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
  process.on('message', (message: ToMount) => { if (message.type === 'unmount') stop(); });
  if (!job.background) process.on('disconnect', stop);
  let mount: RunningMount;
  try {
    mount = await runMount(job, connect, log);
  } catch (error) {
    const failed = error instanceof MountError ? { what: error.message, remedy: error.remedy } : { what: String(error), remedy: 'see the log of the mount process' };
    log.error({ err: error, ...failed }, 'no mount');
    await tell({ type: 'failed', ...failed });
    return 1;
  }
  log.info({ mountpoint: job.mountpoint, binding: mount.binding, servers: job.servers }, 'mounted');
  await tell({ type: 'mounted', binding: mount.binding });
  await Promise.race([asked, mount.ended]);
  await mount.stop();
  log.info({ mountpoint: job.mountpoint }, 'unmounted');
  return 0;
}

/** Resolves when the message is on its way, or the starter has gone. */
function tell(message: FromMount): Promise<void> {
  return new Promise((resolve) => {
    if (process.send === undefined || !process.connected) resolve();
    else process.send(message, undefined, {}, () => { resolve(); });
  });
}
