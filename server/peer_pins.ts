/**
 * Which data directory each member came with when it was met first. A member that comes with another one was formatted anew: it has
 * forgotten what it acknowledged, and may take part as a new member only (PROTOCOL section 2). Remembered durably before anything of it is heard.
 */
import { closeSync, fsyncSync, openSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { crc32 } from '../lib/hash.ts';
import type { MemberId } from '../lib/ids.ts';
import { DataDirectoryError } from './data_directory.ts';

export const PINS_NAME = 'peers.json';
const Pins = z.record(z.string(), z.string().regex(/^[0-9a-f]{32}$/));
const Checked = z.strictObject({ members: Pins, crc32: z.number() });

function checksum(pins: z.infer<typeof Pins>): number {
  return crc32(Buffer.from(JSON.stringify(pins)));
}

function parse(text: string): z.infer<typeof Pins> {
  const json: unknown = JSON.parse(text);
  // The first version had no checksum.
  const plain = Pins.safeParse(json);
  if (plain.success) return plain.data;
  const checked = Checked.parse(json);
  if (checked.crc32 !== checksum(checked.members)) throw new Error('its checksum is wrong');
  return checked.members;
}

/** Reads a file as text, or a substitute that fails. */
export type ReadText = (path: string) => string;

/** What to do about a file that is there and cannot be read: what it says is still good, so it is not to be removed. */
function unreadable(path: string, error: unknown): DataDirectoryError {
  const { code, message } = error as NodeJS.ErrnoException;
  const remedy = code === 'EACCES' || code === 'EPERM'
    ? 'give this user the right to read it (chown, chmod), then start the replica again'
    : 'check the disk and what lies at this path; put a copy of the file back if it is lost, then start the replica again';
  return new DataDirectoryError('damaged', `${path} cannot be read (${message}): ${remedy}`, { cause: error });
}

function read(path: string, readText: ReadText): z.infer<typeof Pins> {
  let text: string;
  try {
    text = readText(path);
  } catch (error) {
    // No member has been met yet.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return {};
    throw unreadable(path, error);
  }
  try {
    return parse(text);
  } catch (error) {
    throw new DataDirectoryError('damaged',
      `${path} is damaged (${error instanceof Error ? error.message : String(error)}). It says with which data directory each member came first, so that none that was formatted anew is taken for what it was. ` +
      'Put a copy of it back; if there is none, and no member was formatted anew since this one ran last, remove it: it is made again as the members are met', { cause: error });
  }
}

export class PeerPins {
  readonly #directory: string;
  readonly #pins: Map<string, string>;

  /** Throws DataDirectoryError when the file is there and cannot be read. */
  constructor(directory: string, readText: ReadText = (path) => readFileSync(path, 'utf8')) {
    this.#directory = directory;
    this.#pins = new Map(Object.entries(read(join(directory, PINS_NAME), readText)));
  }

  /** Why the member may not take part with this data directory, now at least, or null. Meeting it for the first time writes a file. */
  refusal(member: MemberId, instance: Buffer): string | null {
    const text = instance.toString('hex');
    const known = this.#pins.get(String(member));
    if (known === text) return null;
    if (known !== undefined) {
      return `member ${member} comes with another data directory than before: it was formatted anew and does not know what it has acknowledged. Make it a new member: an empty directory, vrfs serve --join, vrfs members replace`;
    }
    this.#pins.set(String(member), text);
    try {
      this.#write();
    } catch (error) {
      // A full disk, or one that became read-only, refuses a stranger and ends nothing.
      this.#pins.delete(String(member));
      return `with which data directory member ${member} comes cannot be stored in ${join(this.#directory, PINS_NAME)} (${(error as Error).message}), and nothing of it may be heard before. Make room there or check that disk; the member is then taken in by itself`;
    }
    return null;
  }

  // Synchronous: it happens once for each member, and nothing of it may be heard before.
  #write(): void {
    const path = join(this.#directory, PINS_NAME);
    const file = openSync(`${path}.new`, 'w', 0o600);
    try {
      const members = Object.fromEntries(this.#pins);
      writeFileSync(file, `${JSON.stringify({ members, crc32: checksum(members) }, null, 2)}\n`);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(`${path}.new`, path);
    const directory = openSync(this.#directory, 'r');
    try {
      fsyncSync(directory);
    } finally {
      closeSync(directory);
    }
  }
}
