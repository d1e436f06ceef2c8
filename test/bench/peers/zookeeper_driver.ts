/** ZooKeeper through its client protocol: create, getData, and sync before getData for a read that has to see what others have completed. */
import { Fifo } from '../../../lib/fifo.ts';
import { decodeConnected, decodeReplyHeader, encodeConnect, encodeCreate, encodeGetData, encodePing, encodeSetData, encodeSync, FrameReader, PING_XID, WATCH_XID } from './jute.ts';
import { CONTENT, DIRECTORIES, NewContent, nonEmpty, pathOf, RoundRobin, type Done, type Driver, type Kind } from './system.ts';
import { TurnSocket } from './turn_socket.ts';
import type { Endpoint } from './etcd_driver.ts';

const SESSION_MS = 40_000;
const PING_MS = 5000;
const NODE_EXISTS = -110;
const NOTHING = Buffer.alloc(0);

interface Waiting {
  readonly xid: number;
  readonly done: Done;
  /** An error that is none. */
  readonly accepted: number;
}
const UNHEARD: Done = { completed: () => undefined, failed: () => undefined };

export class ZooKeeperConnection {
  readonly #name: string;
  #socket: TurnSocket | null = null;
  readonly #frames = new FrameReader();
  #welcomed: { readonly resolve: () => void; readonly reject: (error: Error) => void } | null = null;
  /** A server answers a session in the order in which it asked. */
  readonly #waiting = new Fifo<Waiting>();
  #xid = 0;
  #pings: NodeJS.Timeout | undefined;

  private constructor(name: string) {
    this.#name = name;
  }

  static async connect(e: Endpoint): Promise<ZooKeeperConnection> {
    const c = new ZooKeeperConnection(`${e.host}:${e.port}`);
    c.#socket = await TurnSocket.connect(e.host, e.port, (chunk) => { c.#frames.push(chunk, (frame) => { c.#onFrame(frame); }); }, (reason) => { c.#onClose(reason ?? new Error('the connection was closed')); });
    await new Promise<void>((resolve, reject) => {
      c.#welcomed = { resolve, reject };
      c.#socket?.write(encodeConnect(SESSION_MS));
    });
    c.#pings = setInterval(() => { c.#socket?.write(encodePing()); }, PING_MS);
    return c;
  }

  create(path: string, data: Buffer, done: Done, accepted = 0): void {
    this.#send((xid) => encodeCreate(xid, path, data), done, accepted);
  }
  setData(path: string, data: Buffer, done: Done): void {
    this.#send((xid) => encodeSetData(xid, path, data), done, 0);
  }
  getData(path: string, done: Done): void {
    this.#send((xid) => encodeGetData(xid, path), done, 0);
  }
  /** Whoever waits for what follows it in this session need not wait for it. A failure ends that too. */
  sync(path: string): void {
    this.#send((xid) => encodeSync(xid, path), UNHEARD, 0);
  }

  close(): void {
    clearInterval(this.#pings);
    this.#socket?.close();
  }

  #send(encode: (xid: number) => Buffer, done: Done, accepted: number): void {
    if (this.#socket === null) {
      done.failed(new Error(`${this.#name}: the connection is closed`));
      return;
    }
    this.#xid = (this.#xid % 0x7fff_ffff) + 1;
    this.#waiting.push({ xid: this.#xid, done, accepted });
    this.#socket.write(encode(this.#xid));
  }

  #onFrame(frame: Buffer): void {
    if (this.#welcomed !== null) {
      const welcomed = this.#welcomed;
      this.#welcomed = null;
      if (decodeConnected(frame).timeoutMs > 0) welcomed.resolve();
      else welcomed.reject(new Error(`${this.#name} refuses a session`));
      return;
    }
    const { xid, err } = decodeReplyHeader(frame);
    if (xid === PING_XID || xid === WATCH_XID) return;
    const first = this.#waiting.shift();
    if (first?.xid !== xid) {
      first?.done.failed(new Error(`${this.#name} answers ${xid}, expected was ${first.xid}`));
      this.#onClose(new Error(`${this.#name} answers out of order`));
      return;
    }
    if (err === 0 || err === first.accepted) first.done.completed();
    else if (first.done === UNHEARD) this.#onClose(new Error(`${this.#name}: error ${err} for a sync`));
    else first.done.failed(new Error(`${this.#name}: error ${err}`));
  }

  #onClose(reason: Error): void {
    this.close();
    this.#socket = null;
    this.#welcomed?.reject(reason);
    for (let w = this.#waiting.shift(); w !== undefined; w = this.#waiting.shift()) w.done.failed(reason);
  }
}

export class ZooKeeperDriver implements Driver {
  readonly #leader: RoundRobin<ZooKeeperConnection>;
  readonly #any: RoundRobin<ZooKeeperConnection>;
  readonly #all: readonly ZooKeeperConnection[];
  readonly #content = new NewContent();

  private constructor(leader: readonly ZooKeeperConnection[], any: readonly ZooKeeperConnection[]) {
    this.#leader = new RoundRobin(nonEmpty(leader, 'connection to the leader'));
    this.#any = new RoundRobin(nonEmpty(any, 'connection'));
    this.#all = [...leader, ...any];
  }

  static async connect(leader: Endpoint, all: readonly Endpoint[], connections: number): Promise<ZooKeeperDriver> {
    const open = (e: Endpoint): Promise<ZooKeeperConnection> => ZooKeeperConnection.connect(e);
    const toLeader = await Promise.all(Array.from({ length: connections }, () => open(leader)));
    const toAny = await Promise.all(Array.from({ length: connections }, () => all.map(open)).flat());
    const driver = new ZooKeeperDriver(toLeader, toAny);
    await Promise.all(Array.from({ length: DIRECTORIES }, (_, d) => new Promise<void>((resolve, reject) => {
      driver.#leader.next().create(`/d${d}`, NOTHING, { completed: resolve, failed: reject }, NODE_EXISTS);
    })));
    return driver;
  }

  run(kind: Kind, n: number, done: Done): void {
    const path = `/${pathOf(kind, n)}`;
    switch (kind) {
      case 'create':
      case 'createFull': this.#leader.next().create(path, kind === 'create' ? NOTHING : CONTENT, done); return;
      case 'update': this.#leader.next().setData(path, this.#content.next(), done); return;
      case 'readAny': this.#any.next().getData(path, done); return;
      case 'read': {
        const connection = this.#leader.next();
        connection.sync(path);
        connection.getData(path, done);
        return;
      }
    }
  }

  close(): Promise<void> {
    for (const c of this.#all) c.close();
    return Promise.resolve();
  }
}
