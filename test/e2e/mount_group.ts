/** Three replicas, each a process of its own, for mounts over a real group: started, killed, stopped and continued. */
import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { assert, defined } from '../../lib/assert.ts';
import { epoch, memberId } from '../../lib/ids.ts';
import { VrfsClient } from '../../client/client.ts';
import { format, newClusterId } from '../../server/data_directory.ts';
import { configuration } from '../../vr/configuration.ts';
import type { Configuration } from '../../vr/configuration.ts';
import { freePorts } from '../support/ports.ts';

const MAIN = path.join(import.meta.dirname, '..', '..', 'dist', 'test', 'e2e', 'mount_replica_main.js');

export class ReplicaGroup {
  readonly #folder: string;
  readonly #configuration: Configuration;
  readonly #processes = new Map<number, ChildProcess>();

  private constructor(folder: string, made: Configuration) {
    this.#folder = folder;
    this.#configuration = made;
  }

  static async start(folder: string): Promise<ReplicaGroup> {
    const ports = await freePorts(6);
    const members = [1, 2, 3].map((id) => ({
      id: memberId(id), role: 'voter' as const, address: `127.0.0.1:${defined(ports[id - 1], 'port')}`, httpAddress: `127.0.0.1:${defined(ports[id + 2], 'port')}`,
    }));
    const group = new ReplicaGroup(folder, configuration(epoch(0), members, 'disk'));
    await mkdir(folder, { recursive: true });
    const clusterId = newClusterId();
    for (const m of members) await format({ directory: group.#data(m.id), clusterId, memberId: m.id, configuration: group.#configuration });
    await Promise.all(members.map((m) => group.start(m.id)));
    return group;
  }

  get servers(): string[] {
    return this.#configuration.members.map((m) => m.address);
  }

  async start(id: number): Promise<void> {
    const log = openSync(path.join(this.#folder, `${id}.log`), 'a');
    const child = fork(MAIN, [this.#data(id)], { execArgv: [], stdio: ['ignore', log, log, 'ipc'] });
    closeSync(log);
    this.#processes.set(id, child);
    const [first] = (await Promise.race([once(child, 'message'), once(child, 'exit')])) as unknown[];
    assert(first === 'listening', `replica ${id} started (its log: ${this.#folder}/${id}.log)`);
  }

  signal(id: number, signal: 'SIGSTOP' | 'SIGCONT'): void {
    defined(this.#processes.get(id), `replica ${id}`).kill(signal);
  }

  async kill(id: number): Promise<void> {
    const child = this.#processes.get(id);
    if (child === undefined) return;
    this.#processes.delete(id);
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#processes.keys()].map((id) => this.kill(id)));
  }

  /** Who the clients take for the primary. */
  async primary(): Promise<number> {
    const client = await VrfsClient.connect({ servers: this.servers, name: 'who is primary' });
    await client.query({ credentials: { uid: 0, gid: 0, groups: [] }, operation: { type: 'statfs' } });
    const address = client.primary;
    await client.close();
    return defined(this.#configuration.members.find((m) => m.address === address), `member at ${address}`).id;
  }

  #data(id: number): string {
    return path.join(this.#folder, String(id));
  }
}
