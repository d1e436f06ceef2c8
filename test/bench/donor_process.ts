/**
 * A donor in a process of its own, as a replica is one: a record store behind HTTP, paced as a replica paces it. What it has to do comes over the channel
 * to its parent, one at a time: `fill`, `change`, `wire`. Ends with its parent.
 *
 *   argv: DIRECTORY
 */
import { createServer, type Server } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { EMPTY } from '../../lib/bytes.ts';
import { defined } from '../../lib/assert.ts';
import { opNumber } from '../../lib/ids.ts';
import { RecordStore } from '../../checkpoint/record_store.ts';
import { Dataset, type Change } from './dataset.ts';

export const SHAPES = ['clustered', 'spread', 'random', 'removed', 'none'] as const;
export type Shape = (typeof SHAPES)[number];

export type DonorCommand =
  | { readonly type: 'fill'; readonly records: number }
  /** About so many records are changed, in that shape, and a checkpoint is taken. */
  | { readonly type: 'change'; readonly shape: Shape; readonly records: number }
  | { readonly type: 'wire' };

export interface DonorAnswer {
  readonly port: number;
  readonly op: number;
  /** latin1: JSON carries it. */
  readonly root: string;
  readonly records: number;
  /** Keys and values of the whole state. */
  readonly stateBytes: number;
  /** Of all connections so far, both ways, HTTP's own included. */
  readonly wireBytes: number;
  /** The checkpoint that the command took; 0 for none. */
  readonly takeMs: number;
}

const DIRECTORIES = 50;
const RATE = 64 << 20;

class Donor {
  readonly #store: RecordStore;
  readonly #data = new Dataset();
  readonly #sockets = new Set<Socket>();
  #closedBytes = 0;
  #op = 0;

  constructor(store: RecordStore) {
    this.#store = store;
  }

  listen(): Promise<Server> {
    const server = createServer((request, response) => {
      const parts: Buffer[] = [];
      request.on('data', (part: Buffer) => parts.push(part));
      request.on('end', () => {
        this.#store.serve(Buffer.concat(parts)).then((answer) => response.end(answer), (error: unknown) => response.writeHead(500).end(String(error)));
      });
    });
    server.on('connection', (socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => {
        this.#sockets.delete(socket);
        this.#closedBytes += socket.bytesRead + socket.bytesWritten;
      });
    });
    return new Promise((resolve) => { server.listen(0, '127.0.0.1', () => { resolve(server); }); });
  }

  async run(command: DonorCommand): Promise<Omit<DonorAnswer, 'port'>> {
    if (command.type === 'fill') for (const [k, v] of this.#data.initial(command.records)) this.#store.put(k, v);
    else if (command.type === 'change') this.#apply(this.#changes(command.shape, command.records));
    if (command.type !== 'wire') await this.#store.take(opNumber(++this.#op), EMPTY);
    const { op, root, count } = defined(this.#store.checkpoint ?? undefined, 'a checkpoint');
    const { recordBytes, lastTakeMs } = this.#store.status();
    return { op, root, records: count, stateBytes: recordBytes, wireBytes: this.#wireBytes(), takeMs: command.type === 'wire' ? 0 : lastTakeMs };
  }

  #changes(shape: Shape, records: number): Change[] {
    switch (shape) {
      case 'clustered': return this.#data.clustered(records >> 1);
      case 'spread': return this.#data.spread(DIRECTORIES, Math.max(1, Math.round(records / DIRECTORIES / 2)));
      case 'random': return this.#data.random(records);
      case 'removed': return this.#data.removeAll(DIRECTORIES);
      case 'none': return [];
    }
  }

  #apply(changes: readonly Change[]): void {
    for (const [key, value] of changes) {
      if (value === null) this.#store.delete(key);
      else this.#store.put(key, value);
    }
  }

  #wireBytes(): number {
    let bytes = this.#closedBytes;
    for (const socket of this.#sockets) bytes += socket.bytesRead + socket.bytesWritten;
    return bytes;
  }
}

const [directory] = process.argv.slice(2);
const donor = new Donor(await RecordStore.open({ directory: defined(directory, 'a directory'), pace: { bytesPerSecond: RATE, othersMs: () => 0 } }));
const server = await donor.listen();
const { port } = server.address() as AddressInfo;
process.on('disconnect', () => process.exit(0));
process.on('message', (command: DonorCommand) => {
  donor.run(command).then((answer) => { process.send?.({ port, ...answer } satisfies DonorAnswer); }, (error: unknown) => {
    process.stderr.write(`donor: ${String(error)}\n`);
    process.exit(1);
  });
});
process.send?.('ready');
