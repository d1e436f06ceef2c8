/** `vrfs start`: a whole group on this machine, mounted, until Ctrl-C. */
import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { VrfsClient } from '../../client/client.ts';
import { VrfsError } from '../../client/errors.ts';
import type { ConfigKey } from '../../server/config.ts';
import { ROOT_INO } from '../../fsservice/operations.ts';
import { EMPTY } from '../../lib/bytes.ts';
import { MountError } from '../../mount/binding.ts';
import { mountSource } from '../../mount/mount_options.ts';
import { unmountTree } from '../../mount/mount_table.ts';
import { startMount, type MountHandle } from '../../mount/start_mount.ts';
import { mountLog } from '../commands/mounts.ts';
import { ExitCode } from '../exit_codes.ts';
import { EnvironmentError, failureOf, Failed, Interrupted, PassingError } from '../failure.ts';
import { note, print, type Io } from '../io.ts';
import { onTheDiskOf } from '../local_disk.ts';
import { logFile, logTail, memberDirectory, openGroup, writeMemberConfig, type Group, type GroupRequest } from './group_directory.ts';
import { mountAfterOld } from './mount_after_old.ts';
import { ReplicaRefusedError, SupervisedReplica } from './supervised_replica.ts';

export interface StartRequest extends GroupRequest {
  readonly mountpoint: string;
  /** False: `mountpoint` is the default, and the group runs without a mount where there can be none. */
  readonly mountAsked: boolean;
  readonly mount: boolean;
  /** More keys of the replicas' configuration (server/config.ts). */
  readonly settings: Readonly<Partial<Record<ConfigKey, unknown>>>;
  /** The compiled main of the command line, for the replicas' processes. */
  readonly main: string;
}

const SERVE_MS = 60_000;
const REMOUNT_PAUSE_MS = 2000;
/** The mount of a start that was killed goes away by itself within this. */
const OLD_MOUNT_MS = 8000;
const OLD_MOUNT_POLL_MS = 100;

export async function start(request: StartRequest, io: Io): Promise<void> {
  const group = await onTheDiskOf(request.data, () => openGroup(request));
  const run = new GroupRun(group, request, io);
  await run.run();
}

class GroupRun {
  readonly #group: Group;
  readonly #request: StartRequest;
  readonly #io: Io;
  readonly #replicas: SupervisedReplica[] = [];
  readonly #mountpoint: string;
  #mount: MountHandle | null = null;
  #stopRequests = 0;
  #askedToStop: () => void = () => undefined;
  readonly #stopAsked: Promise<void>;

  constructor(group: Group, request: StartRequest, io: Io) {
    this.#group = group;
    this.#request = request;
    this.#io = io;
    this.#mountpoint = resolve(io.cwd, request.mountpoint);
    this.#stopAsked = new Promise((r) => { this.#askedToStop = r; });
  }

  async run(): Promise<void> {
    const onSignal = (): void => { this.#onSignal(); };
    process.on('SIGINT', onSignal);
    process.on('SIGTERM', onSignal);
    process.on('SIGHUP', onSignal);
    try {
      await onTheDiskOf(this.#group.root, () => this.#startReplicas());
      if (this.#stopRequests === 0) await this.#waitUntilServing();
      if (this.#stopRequests === 0 && this.#request.mount) await this.#mountIt();
      if (this.#stopRequests === 0) await this.#welcome();
      await this.#stopAsked;
      await print(this.#io, '\nstopping: unmounting, then the replicas (Ctrl-C again kills them)');
    } finally {
      try {
        await this.#stop();
      } finally {
        await this.#group.lock.release();
        process.off('SIGINT', onSignal);
        process.off('SIGTERM', onSignal);
        process.off('SIGHUP', onSignal);
      }
    }
    await print(this.#io, this.#farewell());
  }

  #onSignal(): void {
    this.#stopRequests++;
    this.#askedToStop();
    if (this.#stopRequests === 2) {
      for (const r of this.#replicas) r.kill();
      if (this.#mount !== null) void unmountTree(this.#mountpoint, mountSource(this.#mount.pid), mountLog(this.#io)).catch((error: unknown) => note(this.#io, `vrfs: ${failureOf(error).message}`));
    }
  }

  #report(line: string): void {
    void note(this.#io, `vrfs: ${line}`);
  }

  async #startReplicas(): Promise<void> {
    const { root, members } = this.#group;
    if (this.#group.created) await print(this.#io, `made a new group of ${members.length} replica${members.length === 1 ? '' : 's'} in ${root}${outlived(members.length)}`);
    const said = Object.keys(this.#request.settings) as ConfigKey[];
    for (const { id } of members) {
      const log = await logFile(memberDirectory(root, id), 'replica.log');
      const config = await writeMemberConfig(this.#group, id, this.#request.settings);
      this.#replicas.push(new SupervisedReplica({ id, main: this.#request.main, config, log, said }, (line) => { this.#report(line); }));
    }
    // One that does not come up must not keep the others from being stopped.
    const outcomes = await Promise.race([Promise.allSettled(this.#replicas.map((r) => r.start())), this.#stopAsked]);
    if (this.#stopRequests > 0) return;
    for (const outcome of outcomes ?? []) {
      if (outcome.status === 'fulfilled') continue;
      const reason: unknown = outcome.reason;
      const message = reason instanceof Error ? reason.message : String(reason);
      const logs = `see the logs: ${this.#replicas.map((r) => r.program.log).join(' ')}`;
      if (!(reason instanceof ReplicaRefusedError)) throw new EnvironmentError(message, logs, { cause: reason });
      const remedy = reason.remedy ?? logs;
      // What may go for one replica, as a full disk, may go for the group: its exit code says so to whoever starts it again.
      if (reason.exitCode === ExitCode.failed) throw new PassingError('REPLICA', message, remedy, { cause: reason });
      throw new EnvironmentError(message, remedy, { cause: reason });
    }
  }

  /** A primary answers a linearizable read. */
  async #waitUntilServing(): Promise<void> {
    const client = VrfsClient.open({ servers: this.#servers(), clusterId: this.#group.cluster.clusterId, name: 'start', requestTimeoutMs: SERVE_MS });
    const look = client.query({ credentials: { uid: 0, gid: 0, groups: [] }, operation: { type: 'getattr', at: { dir: ROOT_INO, path: EMPTY }, follow: true } });
    try {
      await Promise.race([look, this.#stopAsked]);
    } catch (error) {
      if (!(error instanceof VrfsError)) throw error;
      const log = this.#replicas[0]?.program.log ?? '';
      throw new EnvironmentError(`the group does not serve after ${SERVE_MS / 1000} s: ${error.message}\n${await logTail(log, 5)}`, `see the logs: ${this.#replicas.map((r) => r.program.log).join(' ')}`, { cause: error });
    } finally {
      // Ends the wait of a read that a stop overtook: that failure is expected.
      void look.catch(() => undefined);
      await client.close();
    }
  }

  #servers(): string[] {
    return this.#group.members.map((m) => m.address);
  }

  async #mountIt(): Promise<void> {
    try {
      this.#mount = await mountAfterOld(() => this.#tryMount(), this.#oldMountMayGo());
    } catch (error) {
      if (!(error instanceof MountError) || this.#request.mountAsked) throw error;
      await print(this.#io, `not mounted: ${error.message}. Remedy: ${error.remedy}`);
    }
  }

  #oldMountMayGo(): () => Promise<boolean> {
    const end = Date.now() + OLD_MOUNT_MS;
    return async () => {
      await sleep(OLD_MOUNT_POLL_MS);
      return Date.now() <= end && this.#stopRequests === 0;
    };
  }

  async #tryMount(): Promise<MountHandle> {
    const handle = await startMount({
      servers: this.#servers(),
      mountpoint: this.#mountpoint,
      logFile: await logFile(this.#group.root, 'mount.log'),
      log: mountLog(this.#io),
    });
    void handle.exited.then(({ code, signal }) => { this.#onMountExit(handle, `${signal ?? `exit code ${code ?? '?'}`}`); });
    return handle;
  }

  /** Taken away from outside is respected; a mount whose process has died is made anew. */
  #onMountExit(handle: MountHandle, how: string): void {
    if (this.#mount !== handle || this.#stopRequests > 0) return;
    this.#mount = null;
    if (how === 'exit code 0') {
      this.#report(`${this.#mountpoint} was unmounted. Mount it again with: ${this.#self()} mount ${this.#request.mountpoint}${this.#serverOption()}`);
      return;
    }
    this.#report(`the mount process ended unexpectedly (${how}); see its log in ${this.#group.root}/log. Mounting again.`);
    setTimeout(() => {
      if (this.#stopRequests > 0) return;
      this.#tryMount().then(
        (again) => {
          this.#mount = again;
          this.#report(`mounted again at ${this.#mountpoint}`);
        },
        (error: unknown) => {
          const { message, remedy } = failureOf(error);
          this.#report(`not mounted: ${message}${remedy === undefined ? '' : `. Remedy: ${remedy}`}`);
        },
      );
    }, REMOUNT_PAUSE_MS);
  }

  async #stop(): Promise<void> {
    this.#stopRequests = Math.max(this.#stopRequests, 1);
    const mount = this.#mount;
    const failures: unknown[] = [];
    const attempt = async (act: () => Promise<void>): Promise<void> => {
      try {
        await act();
      } catch (error) {
        failures.push(error);
        await note(this.#io, `vrfs: ${failureOf(error).message}`);
      }
    };
    if (mount !== null) await attempt(() => mount.unmount());
    await Promise.all(this.#replicas.map((r) => attempt(() => r.stop())));
    if (this.#stopRequests > 1) throw new Interrupted('the replicas were killed; their logs keep them consistent');
    if (failures.length > 0) throw new Failed('not everything could be stopped');
  }

  #farewell(): string {
    const { cluster, root } = this.#group;
    if (cluster.configuration.durability === 'memory') return `stopped. The group ran with --durability memory: what it acknowledged after its newest checkpoint is gone with its last replica. To go on from there: vrfs revive --group ${root}`;
    return 'stopped. The next start finds everything as it is.';
  }

  /** How this program is called here. */
  #self(): string {
    const called = process.argv[1] ?? 'vrfs';
    return called.endsWith('.js') ? `node ${called.startsWith(`${this.#io.cwd}/`) ? called.slice(this.#io.cwd.length + 1) : called}` : 'vrfs';
  }

  #serverOption(): string {
    const first = this.#servers()[0];
    return first === '127.0.0.1:7101' ? '' : ` --server ${this.#servers().join(',')}`;
  }

  async #welcome(): Promise<void> {
    const { root, members, cluster } = this.#group;
    const self = this.#self();
    const elsewhere = this.#serverOption() !== '';
    const http = members[0]?.httpAddress ?? '';
    const mounted = this.#mount !== null;
    const lines = [
      `the group serves: ${members.length} replicas, durability ${cluster.configuration.durability}, data in ${root}`,
      ...members.map((m) => `  replica ${m.id}   ${m.address}   http://${m.httpAddress}   log: ${memberDirectory(root, m.id)}/log/replica.log`),
      ...(mounted ? [`mounted at ${this.#mountpoint}`] : []),
      ...(cluster.configuration.durability === 'memory' ? ['durability memory: everything after the newest checkpoint is lost when all replicas stop, this command included'] : []),
      '',
      'Try, in another terminal:',
      ...(mounted ? [`  echo hello > ${this.#request.mountpoint}/hello && cat ${this.#request.mountpoint}/hello`] : []),
      ...(elsewhere ? [`  export VRFS_SERVERS=${this.#servers().join(',')}`] : []),
      `  echo hello | ${self} put - /hello2 && ${self} ls -l /`,
      `  ${self} status`,
      `  curl http://${http}/v1/status`,
      '',
      'Ctrl-C stops everything.',
    ];
    await print(this.#io, lines.join('\n'));
  }
}

/** Of how many failures a group of so many says that it goes on, where that is not as one may expect. */
function outlived(replicas: number): string {
  const failures = Math.floor((replicas - 1) / 2);
  if (failures > 0 && replicas % 2 === 1) return '';
  return failures === 0 ? `; it stops when ${replicas === 1 ? 'that one' : 'any of them'} does (with 3 replicas it goes on without one)` : `; it goes on without ${failures} of them, as one of ${replicas - 1} does`;
}
