/**
 * Which data directory each member came with when it was met first. A member that comes with another one was formatted anew: it has
 * forgotten what it acknowledged, and may take part as a new member only (PROTOCOL section 2). Remembered durably before anything of it is heard.
 */
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { MemberId } from '../lib/ids.ts';

export const PINS_NAME = 'peers.json';
const Pins = z.record(z.string(), z.string().regex(/^[0-9a-f]{32}$/));

export class PeerPins {
  readonly #directory: string;
  readonly #pins: Map<string, string>;

  /** Throws when the file is there and cannot be read. */
  constructor(directory: string) {
    this.#directory = directory;
    const path = join(directory, PINS_NAME);
    this.#pins = new Map(existsSync(path) ? Object.entries(Pins.parse(JSON.parse(readFileSync(path, 'utf8')))) : []);
  }

  /** Why the member may not take part with this data directory, or null. Meeting it for the first time writes a file. */
  refusal(member: MemberId, instance: Buffer): string | null {
    const text = instance.toString('hex');
    const known = this.#pins.get(String(member));
    if (known === text) return null;
    if (known !== undefined) {
      return `member ${member} comes with another data directory than before: it was formatted anew and does not know what it has acknowledged. Make it a new member: an empty directory, vrfs serve --join, vrfs members replace`;
    }
    this.#pins.set(String(member), text);
    this.#write();
    return null;
  }

  // Synchronous: it happens once for each member, and nothing of it may be heard before.
  #write(): void {
    const path = join(this.#directory, PINS_NAME);
    const file = openSync(`${path}.new`, 'w', 0o600);
    try {
      writeSync(file, `${JSON.stringify(Object.fromEntries(this.#pins), null, 2)}\n`);
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
