/**
 * The superblock on disk: two copies, each in a file of its own, each with a sequence number and a checksum. A write
 * goes to one copy and, when that is durable, to the other: a crash leaves at least one whole, and when one copy has
 * rotted the other is not an older one. That matters: an older superblock would be a promise forgotten (PROTOCOL row 1).
 *
 *   magic 8 | sequence u48 | length u32 | superblock | crc32 u32 (of everything before)
 */
import { constants } from 'node:fs';
import { open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { assert } from '../lib/assert.ts';
import { DecodeError, decodeAll, Writer, type Decoded } from '../lib/bytes.ts';
import { crc32 } from '../lib/hash.ts';
import type { SuperblockStore } from '../vr/ports.ts';
import { decodeSuperblock, encodeSuperblock, type Superblock } from '../vr/superblock.ts';
import { REPLACE } from './lost_member.ts';
import { syncDirectory } from './directories.ts';

const MAGIC = 'VRFSSUPR';
export const COPY_NAMES = ['superblock-a', 'superblock-b'] as const;

interface Copy {
  readonly sequence: number;
  readonly superblock: Superblock;
}

/** Neither copy can be read: the replica has forgotten what it promised, and may not take part. */
export class SuperblockDamagedError extends Error {
  override readonly name = 'SuperblockDamagedError';
}

export function encodeCopy(sequence: number, superblock: Superblock): Buffer {
  const body = encodeSuperblock(superblock);
  const bytes = new Writer(body.length + 32).latin1(MAGIC).u48(sequence).bytes32(body).finish();
  return new Writer(bytes.length + 4).raw(bytes).u32(crc32(bytes)).finish();
}

export function decodeCopy(bytes: Buffer): Decoded<Copy> {
  return decodeAll(bytes, (r) => {
    if (r.latin1(8) !== MAGIC) throw new DecodeError('it does not begin as a superblock');
    const sequence = r.u48();
    const body = r.bytes32();
    const end = r.offset;
    if (r.u32() !== crc32(bytes.subarray(0, end))) throw new DecodeError('its checksum is wrong');
    r.offset = r.end; // A shorter superblock than the one before leaves the old one's end behind it.
    const superblock = decodeSuperblock(body);
    if (!superblock.ok) throw new DecodeError(superblock.reason);
    return { sequence, superblock: superblock.value };
  });
}

async function readCopy(path: string): Promise<Decoded<Copy>> {
  try {
    return decodeCopy(await readFile(path));
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return { ok: false, reason: 'it is missing' };
    // A bad sector is damage like any other: the other copy may be whole.
    if (code === 'EIO') return { ok: false, reason: `the disk cannot read it: ${message}` };
    throw error;
  }
}

async function writeCopy(path: string, bytes: Buffer): Promise<void> {
  const handle = await open(path, constants.O_WRONLY | constants.O_CREAT, 0o600);
  try {
    const { bytesWritten } = await handle.write(bytes, 0, bytes.length, 0);
    if (bytesWritten !== bytes.length) throw new Error(`only ${bytesWritten} of ${bytes.length} bytes could be written`);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Both copies of the first superblock: part of formatting a data directory. */
export async function formatSuperblock(directory: string, superblock: Superblock): Promise<void> {
  const bytes = encodeCopy(1, superblock);
  for (const name of COPY_NAMES) await writeCopy(join(directory, name), bytes);
  await syncDirectory(directory);
}

/**
 * The newest whole copy. `warnings` says what was wrong with the other.
 * Rejects with SuperblockDamagedError when neither is whole.
 */
export async function readSuperblock(directory: string): Promise<Copy & { readonly warnings: readonly string[] }> {
  const warnings: string[] = [];
  let newest: Copy | null = null;
  for (const name of COPY_NAMES) {
    const copy = await readCopy(join(directory, name));
    if (!copy.ok) warnings.push(`${join(directory, name)} cannot be used: ${copy.reason}`);
    else if (newest === null || copy.value.sequence > newest.sequence) newest = copy.value;
  }
  if (newest === null) {
    throw new SuperblockDamagedError(
      `neither copy of the superblock can be read (${warnings.join('; ')}). ` +
      'What this replica had promised is lost, so it may not take part again: put the files back if they went elsewhere (an older copy is unsafe), or keep the group running on the other members. ' +
      REPLACE,
    );
  }
  return { ...newest, warnings };
}

export interface SuperblockFileOptions {
  readonly directory: string;
  /** Of the copy that was read at boot. */
  readonly sequence: number;
  /** Called for each ticket, in order. Never from inside `write`; must not throw. */
  readonly onDurable: (ticket: number) => void;
  readonly fatal: (error: Error) => void;
  /** Writes one copy durably, or a substitute that fails or delays. */
  readonly writeCopy?: (path: string, bytes: Buffer) => Promise<void>;
}

export class SuperblockFile implements SuperblockStore {
  readonly #options: SuperblockFileOptions;
  readonly #writeCopy: (path: string, bytes: Buffer) => Promise<void>;
  #sequence: number;
  #lastTicket = 0;
  #completed = 0;
  #pending: Superblock | null = null;
  #running: Promise<void> | null = null;
  #failed = false;

  constructor(options: SuperblockFileOptions) {
    this.#options = options;
    this.#sequence = options.sequence;
    this.#writeCopy = options.writeCopy ?? writeCopy;
  }

  /** Each superblock is whole, so of those that wait for their turn only the newest is written. */
  write(superblock: Superblock): number {
    assert(!this.#failed, 'no superblock is written after an error');
    this.#pending = superblock;
    this.#running ??= this.#run();
    return ++this.#lastTicket;
  }

  /** Waits until everything is written. */
  async close(): Promise<void> {
    await this.#running;
  }

  async #run(): Promise<void> {
    // What else is written in this turn goes along, and nothing completes inside the caller.
    await new Promise((resolve) => setImmediate(resolve));
    while (this.#pending !== null) {
      const ticket = this.#lastTicket;
      const bytes = encodeCopy(++this.#sequence, this.#pending);
      this.#pending = null;
      try {
        for (const name of COPY_NAMES) await this.#writeCopy(join(this.#options.directory, name), bytes);
      } catch (error) {
        this.#failed = true;
        const reason = error instanceof Error ? error.message : String(error);
        this.#options.fatal(new Error(
          `the superblock in ${this.#options.directory} could not be written: ${reason}. A failed write is not repeated: make room or check the disk, then start the replica again`,
          { cause: error },
        ));
        return;
      }
      while (this.#completed < ticket) this.#options.onDurable(++this.#completed);
    }
    this.#running = null;
  }
}
