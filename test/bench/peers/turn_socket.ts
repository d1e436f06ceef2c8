/** A TCP connection whose writes of one turn of the event loop leave together, as those of vrfs' own client do: so that every system's client costs the same. */
import { connect, type Socket } from 'node:net';

export class TurnSocket {
  readonly #socket: Socket;
  #gathered: Buffer[] = [];
  readonly #flush = (): void => {
    const buffers = this.#gathered;
    this.#gathered = [];
    const [first] = buffers;
    if (first !== undefined) this.#socket.write(buffers.length === 1 ? first : Buffer.concat(buffers));
  };

  private constructor(socket: Socket) {
    this.#socket = socket;
  }

  /** @param onClose with the reason, or null when this side closed it. */
  static connect(host: string, port: number, onData: (chunk: Buffer) => void, onClose: (reason: Error | null) => void): Promise<TurnSocket> {
    return new Promise((resolve, reject) => {
      const socket = connect({ host, port, noDelay: true });
      let failure: Error | null = null;
      let open = false;
      socket.on('connect', () => {
        open = true;
        resolve(new TurnSocket(socket));
      });
      socket.on('data', onData);
      socket.on('end', () => { failure ??= new Error(`${host}:${port} closed the connection`); });
      socket.on('error', (error) => { failure = error; });
      socket.on('close', () => {
        if (open) onClose(failure);
        else reject(failure ?? new Error(`${host}:${port}: no connection`));
      });
    });
  }

  write(buffer: Buffer): void {
    this.#gathered.push(buffer);
    if (this.#gathered.length === 1) setImmediate(this.#flush);
  }

  close(): void {
    this.#socket.destroy();
  }
}
