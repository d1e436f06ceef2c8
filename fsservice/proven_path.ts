/**
 * Which records say what a path leads to, and what they say: the directory entry of each name from the root directory on, then the
 * inode. Symbolic links are not followed. Shared by who makes proofs of paths and who verifies them, so pure and without a table.
 */
import type { Ino } from '../lib/ids.ts';
import { attributesOf, decodeInode } from './inode.ts';
import { entryKey, inodeKey } from './keys.ts';
import { NAME_MAX, ROOT_INO, type Attributes } from './operations.ts';
import { decodeEntry } from './records.ts';

export type PathOutcome =
  | { readonly kind: 'found'; readonly attributes: Attributes }
  /** There is no entry with this name (`missing`: its place among the names); or the name before it is that of no directory. */
  | { readonly kind: 'absent'; readonly missing: number; readonly reason: 'no-entry' | 'no-directory' };

/** What to look up next, or the outcome. */
export type PathStep = { readonly key: Buffer } | PathOutcome;

/** Asked again and again with what was found for the key before; null: there is no such record. */
export class PathWalk {
  readonly #names: readonly Buffer[];
  #at = 0;
  #ino: Ino = ROOT_INO;
  #isDirectory = true;
  #waiting: 'entry' | 'inode' | null = null;

  constructor(names: readonly Buffer[]) {
    this.#names = names;
  }

  begin(): PathStep {
    return this.#next();
  }

  found(value: Buffer | null): PathStep {
    // Of the root directory too: its record is made by the first operation.
    if (value === null) return { kind: 'absent', missing: this.#at, reason: 'no-entry' };
    if (this.#waiting === 'inode') return { kind: 'found', attributes: attributesOf(decodeInode(this.#ino, value)) };
    const { ino, type } = decodeEntry(value);
    this.#ino = ino;
    this.#isDirectory = type === 'directory';
    this.#at++;
    return this.#next();
  }

  #next(): PathStep {
    const name = this.#names[this.#at];
    if (name === undefined) {
      this.#waiting = 'inode';
      return { key: inodeKey(this.#ino) };
    }
    if (!this.#isDirectory) return { kind: 'absent', missing: this.#at, reason: 'no-directory' };
    this.#waiting = 'entry';
    return { key: entryKey(this.#ino, name) };
  }
}

/** The names of a path from the root directory on; null: it has '..', a name that is too long, or NUL. */
export function namesOfPath(path: Buffer): Buffer[] | null {
  const names: Buffer[] = [];
  for (let at = 0; at <= path.length; ) {
    const slash = path.indexOf(0x2f, at);
    const end = slash < 0 ? path.length : slash;
    const name = path.subarray(at, end);
    at = end + 1;
    if (name.length === 0 || (name.length === 1 && name[0] === 0x2e)) continue;
    if (name.length > NAME_MAX || name.includes(0) || name.equals(DOT_DOT)) return null;
    names.push(name);
  }
  return names;
}

const DOT_DOT = Buffer.from('..');
