/**
 * The ceiling of this shape in Node: a primary and two backups that do what every replica must do for a create, and nothing else. Frames are taken apart a chunk at
 * a time, a turn's operations make a batch, four batches are under way, whatever waits for the journal is one writev and one fdatasync, a batch's
 * replies leave in one write. The operation is a key into a Map. No sessions, views, checkpoints, errors: not a service, a yardstick.
 *
 *   node probe_server.js backup|primary DIRECTORY PORT fsync|none [PORT OF A BACKUP...]
 *
 * A request is a frame of 32 bits of length, 32 bits of number, 32 bits of nothing, and the key; a reply is 12 bytes: length 8, the number, 0.
 */
import { fdatasync, openSync, writev } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';

const PIPELINE = 4;
const QUORUM_OF_BACKUPS = 1;

/** Calls `each` with the bytes of every frame, and `end` after the last one of a chunk. */
function frames(socket: Socket, each: (frame: Buffer) => void, end: () => void): void {
  let partial: Buffer | null = null;
  socket.setNoDelay();
  socket.on('error', () => { socket.destroy(); });
  socket.on('data', (chunk: Buffer) => {
    const bytes: Buffer = partial === null ? chunk : Buffer.concat([partial, chunk]);
    let at = 0;
    while (bytes.length - at >= 4) {
      const next = at + 4 + bytes.readUInt32LE(at);
      if (next > bytes.length) break;
      each(bytes.subarray(at + 4, next));
      at = next;
    }
    partial = at < bytes.length ? bytes.subarray(at) : null;
    end();
  });
}

class Journal {
  readonly #file: number;
  readonly #fsync: boolean;
  #waiting: { readonly bytes: Buffer; readonly durable: () => void }[] = [];
  #busy = false;

  constructor(path: string, fsync: boolean) {
    this.#file = openSync(path, 'w');
    this.#fsync = fsync;
  }
  append(bytes: Buffer, durable: () => void): void {
    this.#waiting.push({ bytes, durable });
    this.#kick();
  }
  #kick(): void {
    if (this.#busy || this.#waiting.length === 0) return;
    this.#busy = true;
    const group = this.#waiting;
    this.#waiting = [];
    const done = (error: Error | null): void => {
      if (error !== null) throw error;
      this.#busy = false;
      for (const w of group) w.durable();
      this.#kick();
    };
    writev(this.#file, group.map((w) => w.bytes), (error) => {
      if (error !== null || !this.#fsync) done(error);
      else fdatasync(this.#file, done);
    });
  }
}

function execute(state: Map<string, Buffer>, operation: Buffer): void {
  state.set(operation.latin1Slice(8), operation);
}

function backup(journal: Journal, port: number): void {
  const state = new Map<string, Buffer>();
  createServer((primary) => {
    frames(primary, (frame) => {
      const number = frame.readUInt32LE(0);
      journal.append(frame, () => {
        const ack = Buffer.allocUnsafe(8);
        ack.writeUInt32LE(4, 0);
        ack.writeUInt32LE(number, 4);
        primary.write(ack);
      });
      for (let at = 4; at < frame.length;) {
        const length = frame.readUInt32LE(at);
        execute(state, frame.subarray(at + 4, at + 4 + length));
        at += 4 + length;
      }
    }, () => undefined);
  }).listen(port, '127.0.0.1');
}

interface Request {
  readonly client: Socket;
  readonly operation: Buffer;
}
interface Batch {
  readonly requests: readonly Request[];
  acks: number;
  durable: boolean;
}

class Primary {
  readonly #journal: Journal;
  readonly #backups: readonly Socket[];
  readonly #state = new Map<string, Buffer>();
  readonly #underWay = new Map<number, Batch>();
  #gathered: Request[] = [];
  #prepared = 0;
  #committed = 0;

  constructor(journal: Journal, backups: readonly number[]) {
    this.#journal = journal;
    this.#backups = backups.map((port) => {
      const socket = connect({ host: '127.0.0.1', port });
      frames(socket, (frame) => {
        const batch = this.#underWay.get(frame.readUInt32LE(0));
        if (batch !== undefined) batch.acks++;
      }, () => { this.#commit(); });
      return socket;
    });
  }

  listen(port: number): void {
    createServer((client) => {
      frames(client, (operation) => { this.#gathered.push({ client, operation }); }, () => { this.#prepare(); });
    }).listen(port, '127.0.0.1');
  }

  #prepare(): void {
    const requests = this.#gathered;
    if (requests.length === 0 || this.#underWay.size >= PIPELINE) return;
    this.#gathered = [];
    const number = ++this.#prepared;
    const batch: Batch = { requests, acks: 0, durable: false };
    this.#underWay.set(number, batch);
    const bytes = Buffer.allocUnsafe(8 + requests.reduce((sum, r) => sum + 4 + r.operation.length, 0));
    bytes.writeUInt32LE(bytes.length - 4, 0);
    bytes.writeUInt32LE(number, 4);
    let at = 8;
    for (const { operation } of requests) {
      bytes.writeUInt32LE(operation.length, at);
      at += 4 + operation.copy(bytes, at + 4);
    }
    for (const b of this.#backups) b.write(bytes);
    this.#journal.append(bytes, () => {
      batch.durable = true;
      this.#commit();
    });
  }

  #commit(): void {
    for (;;) {
      const batch = this.#underWay.get(this.#committed + 1);
      if (batch === undefined || batch.acks < QUORUM_OF_BACKUPS || !batch.durable) break;
      this.#underWay.delete(++this.#committed);
      this.#reply(batch);
    }
    this.#prepare();
  }

  #reply(batch: Batch): void {
    const byClient = new Map<Socket, Request[]>();
    for (const r of batch.requests) {
      execute(this.#state, r.operation);
      const own = byClient.get(r.client);
      if (own === undefined) byClient.set(r.client, [r]);
      else own.push(r);
    }
    for (const [client, requests] of byClient) {
      const replies = Buffer.alloc(12 * requests.length);
      for (const [i, { operation }] of requests.entries()) {
        replies.writeUInt32LE(8, 12 * i);
        replies.writeUInt32LE(operation.readUInt32LE(0), 12 * i + 4);
      }
      client.write(replies);
    }
  }
}

const [role = '', directory = '', port = '', durability = '', ...backups] = process.argv.slice(2);
const journal = new Journal(join(directory, `journal-${port}`), durability === 'fsync');
if (role === 'backup') backup(journal, Number(port));
else new Primary(journal, backups.map(Number)).listen(Number(port));
