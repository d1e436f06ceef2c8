/** /dev/fuse: mounting over an open descriptor (as root), requests in, replies out. */
import { spawn } from 'node:child_process';
import { closeSync, openSync, writeSync, writevSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { MountError } from './binding.ts';
import { FuseRequest } from './fuse_protocol.ts';
import type { FromReader } from './device_reader.ts';
import { mountSource, MOUNT_TYPE } from './mount_options.ts';
import type { MountOptions } from './mount_options.ts';

/** The descriptor's number in the mount command. */
const INHERITED = 3;

export class KernelDevice {
  readonly #descriptor: number;
  #reader: Worker | undefined;
  #closed = false;

  /** @throws MountError */
  constructor() {
    try {
      this.#descriptor = openSync('/dev/fuse', 'r+');
    } catch (error) {
      throw new MountError(`/dev/fuse cannot be opened: ${String(error)}`, 'load the kernel module (modprobe fuse); in a container: --device /dev/fuse --cap-add SYS_ADMIN', { cause: error });
    }
  }

  /** mount(8) hands our descriptor to the kernel, which from then on asks through it. @throws MountError */
  async mount(mountpoint: string, options: MountOptions): Promise<void> {
    const list = [
      `fd=${INHERITED}`, 'rootmode=40000', 'user_id=0', 'group_id=0', 'default_permissions', 'nosuid', 'nodev',
      ...(options.allowOther ? ['allow_other'] : []),
      ...(options.readOnly ? ['ro'] : []),
    ];
    // -i: not through the helper mount.fuse, which would be another file system's program.
    const child = spawn('mount', ['-i', '-t', MOUNT_TYPE, '-o', list.join(','), mountSource(process.pid), mountpoint], { stdio: ['ignore', 'ignore', 'pipe', this.#descriptor] });
    let said = '';
    child.stderr?.setEncoding('utf8').on('data', (text: string) => { said += text; });
    const code = await new Promise<number | null>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', resolve);
    });
    if (code === 0) return;
    this.#closed = true;
    closeSync(this.#descriptor);
    throw new MountError(`mount(8) refused ${mountpoint}: ${said.trim() === '' ? `exit code ${String(code)}` : said.trim()}`, 'mounting needs root with CAP_SYS_ADMIN (in a container: --cap-add SYS_ADMIN --device /dev/fuse); or --binding fuse-native as an ordinary user');
  }

  /** Starts reading. `onEnd` comes once, with a reason when it was not an unmount. */
  serve(onRequest: (request: FuseRequest) => void, onEnd: (reason: string | null) => void): void {
    const here = fileURLToPath(import.meta.url);
    const reader = new Worker(path.join(path.dirname(here), `device_reader${path.extname(here)}`), { workerData: { descriptor: this.#descriptor } });
    this.#reader = reader;
    reader.on('message', (message: FromReader) => {
      if (message instanceof Uint8Array) onRequest(new FuseRequest(Buffer.from(message.buffer, message.byteOffset, message.byteLength)));
      else onEnd(message.ended);
    });
    reader.on('error', (error) => { onEnd(error.message); });
  }

  /** One write is one reply; the kernel copies it before it returns. */
  reply(head: Buffer, body?: Buffer): void {
    // The call ended with the mount, and the number of the descriptor may be another file's by now.
    if (this.#closed) return;
    try {
      if (body === undefined) writeSync(this.#descriptor, head);
      else writevSync(this.#descriptor, [head, body]);
    } catch (error) {
      // ENOENT: the caller was killed and its request is no more; ENODEV: unmounted meanwhile. Nobody waits for this answer.
      if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENODEV')) return;
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.#reader?.terminate();
    this.#closed = true;
    closeSync(this.#descriptor);
  }
}
