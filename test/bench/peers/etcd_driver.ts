/** etcd through its own binary protocol, gRPC: puts and ranges. A put also replaces, so it does less than a create; etcd's create is a transaction and costs more. */
import { CONTENT, NewContent, nonEmpty, pathOf, RoundRobin, type Done, type Driver, type Kind } from './system.ts';
import { GrpcConnection, Method, type CallDone } from './grpc.ts';
import { decodeStatus, encodePut, encodeRange, hasKey, type Status } from './protobuf.ts';

const PUT = new Method('/etcdserverpb.KV/Put');
const RANGE = new Method('/etcdserverpb.KV/Range');
const STATUS = new Method('/etcdserverpb.Maintenance/Status');
const NOTHING = Buffer.alloc(0);

export interface Endpoint {
  readonly host: string;
  readonly port: number;
}

class Got implements CallDone {
  readonly #done: Done;
  readonly #key: Buffer;

  constructor(done: Done, key: Buffer) {
    this.#done = done;
    this.#key = key;
  }
  completed(message: Buffer): void {
    if (hasKey(message)) this.#done.completed();
    else this.#done.failed(new Error(`etcd: there is no key ${this.#key.toString()}`));
  }
  failed(error: Error): void {
    this.#done.failed(error);
  }
}

export class EtcdDriver implements Driver {
  readonly #leader: RoundRobin<GrpcConnection>;
  readonly #any: RoundRobin<GrpcConnection>;
  readonly #all: readonly GrpcConnection[];
  readonly #content = new NewContent();

  private constructor(leader: readonly GrpcConnection[], any: readonly GrpcConnection[]) {
    this.#leader = new RoundRobin(nonEmpty(leader, 'connection to the leader'));
    this.#any = new RoundRobin(nonEmpty(any, 'connection'));
    this.#all = [...leader, ...any];
  }

  static async connect(leader: Endpoint, all: readonly Endpoint[], connections: number): Promise<EtcdDriver> {
    const open = (e: Endpoint): Promise<GrpcConnection> => GrpcConnection.connect(e.host, e.port);
    const toLeader = await Promise.all(Array.from({ length: connections }, () => open(leader)));
    const toAny = await Promise.all(Array.from({ length: connections }, () => all.map(open)).flat());
    return new EtcdDriver(toLeader, toAny);
  }

  run(kind: Kind, n: number, done: Done): void {
    const key = Buffer.from(pathOf(kind, n), 'latin1');
    switch (kind) {
      case 'create':
      case 'createFull':
        this.#leader.next().call(PUT, encodePut(key, kind === 'create' ? NOTHING : CONTENT), done);
        return;
      case 'update': this.#leader.next().call(PUT, encodePut(key, this.#content.next()), done); return;
      case 'read': this.#leader.next().call(RANGE, encodeRange(key, false), new Got(done, key)); return;
      case 'readAny': this.#any.next().call(RANGE, encodeRange(key, true), new Got(done, key)); return;
    }
  }

  close(): Promise<void> {
    for (const c of this.#all) c.close();
    return Promise.resolve();
  }
}

export async function etcdStatus(e: Endpoint): Promise<Status> {
  const connection = await GrpcConnection.connect(e.host, e.port);
  try {
    return await new Promise<Status>((resolve, reject) => {
      connection.call(STATUS, NOTHING, { completed: (message) => { resolve(decodeStatus(message)); }, failed: reject });
    });
  } finally {
    connection.close();
  }
}
