/** The yardstick of probe_server.ts as one of the systems: what three Node processes and this load could reach at most. It makes entries and reads none. */
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Durability } from '../../../vr/configuration.ts';
import { freePorts } from '../../support/ports.ts';
import { REPOSITORY, until } from '../../support/process_group.ts';
import { ServerProcess } from './server_process.ts';
import type { Cluster, Done, Driver, Kind } from './system.ts';
import { TurnSocket } from './turn_socket.ts';

const PROGRAM = join(REPOSITORY, 'dist/test/bench/peers/probe_server.js');
const START_MS = 10_000;
const HEADER = 12;
const KEY = 52;

class ProbeDriver implements Driver {
  readonly #socket: TurnSocket;
  readonly #waiting: Map<number, Done>;

  private constructor(socket: TurnSocket, waiting: Map<number, Done>) {
    this.#socket = socket;
    this.#waiting = waiting;
  }

  static async connect(port: number): Promise<ProbeDriver> {
    const waiting = new Map<number, Done>();
    let partial: Buffer | null = null;
    const socket = await TurnSocket.connect('127.0.0.1', port, (chunk) => {
      const bytes: Buffer = partial === null ? chunk : Buffer.concat([partial, chunk]);
      let at = 0;
      for (; at + HEADER <= bytes.length; at += HEADER) {
        const number = bytes.readUInt32LE(at + 4);
        const done = waiting.get(number);
        waiting.delete(number);
        done?.completed();
      }
      partial = at < bytes.length ? bytes.subarray(at) : null;
    }, (reason) => { for (const done of waiting.values()) done.failed(reason ?? new Error('the probe was closed')); });
    return new ProbeDriver(socket, waiting);
  }

  run(kind: Kind, n: number, done: Done): void {
    if (kind !== 'create') {
      done.failed(new Error(`the probe knows no '${kind}'`));
      return;
    }
    const request = Buffer.allocUnsafe(HEADER + KEY);
    request.writeUInt32LE(HEADER + KEY - 4, 0);
    request.writeUInt32LE(n, 4);
    request.writeUInt32LE(0, 8);
    request.latin1Write(`/dir/file-${String(n).padStart(KEY - 10, '0')}`, HEADER);
    this.#waiting.set(n, done);
    this.#socket.write(request);
  }

  close(): Promise<void> {
    this.#socket.close();
    return Promise.resolve();
  }
}

export class ProbeCluster implements Cluster {
  readonly name: string;
  readonly version = 'of this commit';
  readonly #directory: string;
  readonly #port: number;
  readonly #servers: readonly ServerProcess[];

  private constructor(durability: Durability, directory: string, port: number, servers: readonly ServerProcess[]) {
    this.name = `probe ${durability}`;
    this.#directory = directory;
    this.#port = port;
    this.#servers = servers;
  }

  static async start(durability: Durability): Promise<ProbeCluster> {
    const directory = mkdtempSync(join(tmpdir(), 'vrfs-bench-probe-'));
    const [port = 0, ...backups] = await freePorts(3);
    const start = (i: number, role: string, own: number, others: readonly number[]): ServerProcess =>
      new ServerProcess(`probe ${role}`, [process.execPath, PROGRAM, role, directory, String(own), durability === 'disk' ? 'fsync' : 'none', ...others.map(String)], join(directory, `${i}.out`), directory, i);
    const servers = backups.map((b, i) => start(i, 'backup', b, []));
    const cluster = new ProbeCluster(durability, directory, port, servers);
    try {
      for (const b of backups) await listening(b, servers);
      const all = [...servers, start(2, 'primary', port, backups)];
      await listening(port, all);
      return new ProbeCluster(durability, directory, port, all);
    } catch (error) {
      await cluster.stop();
      throw error;
    }
  }

  get pids(): number[] {
    return this.#servers.map((s) => s.pid);
  }
  connect(): Promise<Driver> {
    return ProbeDriver.connect(this.#port);
  }
  async stop(): Promise<void> {
    await Promise.all(this.#servers.map((s) => s.stop('SIGTERM')));
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

async function listening(port: number, servers: readonly ServerProcess[]): Promise<void> {
  await until(`the probe listens on port ${port}`, START_MS, () => {
    for (const s of servers) s.check();
    return new Promise<true | undefined>((resolve) => {
      const socket = connect({ host: '127.0.0.1', port });
      socket.on('connect', () => {
        socket.destroy();
        resolve(true);
      });
      socket.on('error', () => { resolve(undefined); });
    });
  });
}
