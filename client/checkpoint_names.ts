/** Paths in a checkpoint, from its tree. A directory knows its parent, in whose entries its name is; of other inodes only entries know. */
import { decodeEntry, type DirectoryEntryRecord } from '../fsservice/records.ts';
import { decodeInode, type Inode } from '../fsservice/inode.ts';
import { entryKeyAfter, inodeKey, parseKey } from '../fsservice/keys.ts';
import { ROOT_INO } from '../fsservice/operations.ts';
import { EMPTY } from '../lib/bytes.ts';
import type { Ino } from '../lib/ids.ts';
import { NO_RECORDS, diffTrees, readRecords, type TreeSource } from '../checkpoint/tree_diff.ts';
import { joinPath } from './paths.ts';

interface Name {
  readonly dir: Ino;
  readonly name: Buffer;
}

/** More directories than can be on a way: damage, or a lie. */
const DEPTH_MAX = 100_000;
const ROOT_PATH = Buffer.from('/');

export class TreeNames {
  readonly #source: TreeSource;
  /** Of each inode one of its names. */
  readonly #names = new Map<Ino, Name>();
  readonly #listed = new Set<Ino>();

  constructor(source: TreeSource) {
    this.#source = source;
  }

  know({ ino }: DirectoryEntryRecord, dir: Ino, name: Buffer): void {
    this.#names.set(ino, { dir, name });
  }

  has(ino: Ino): boolean {
    return this.#names.has(ino);
  }

  /** Null: the directory has no name (it was unlinked while it is open). */
  async pathOf(dir: Ino, name: Buffer): Promise<Buffer | null> {
    const parent = await this.pathOfDirectory(dir);
    return parent === null ? null : joinPath(parent, name);
  }

  /** Null: no name of it is known. */
  async pathOfKnown(ino: Ino): Promise<Buffer | null> {
    const name = this.#names.get(ino);
    return name === undefined ? null : this.pathOf(name.dir, name.name);
  }

  async pathOfDirectory(ino: Ino): Promise<Buffer | null> {
    const names: Buffer[] = [];
    for (let at = ino; at !== ROOT_INO; ) {
      const name = this.#names.get(at) ?? (await this.#nameOfDirectory(at));
      if (name === null || names.length > DEPTH_MAX) return null;
      names.push(name.name);
      at = name.dir;
    }
    return names.reduceRight((path: Buffer, name) => joinPath(path, name), ROOT_PATH);
  }

  /** Null: there is none. */
  async inode(ino: Ino): Promise<Inode | null> {
    for await (const some of diffTrees(NO_RECORDS, this.#source, { within: inodeKey(ino) })) {
      const [bytes] = await readRecords(this.#source, some.flatMap(({ key, after }) => (after === null ? [] : [{ key, hash: after }])));
      if (bytes !== undefined) return decodeInode(ino, bytes);
    }
    return null;
  }

  async #nameOfDirectory(ino: Ino): Promise<Name | null> {
    const inode = await this.inode(ino);
    if (inode === null || inode.unlinkedAt !== 0 || this.#listed.has(inode.parent)) return null;
    this.#listed.add(inode.parent);
    await this.#learn(entryKeyAfter(inode.parent, EMPTY), (found) => found.type === 'directory');
    return this.#names.get(ino) ?? null;
  }

  /** Goes through all entries until each of these inodes has a name. */
  async search(inodes: ReadonlySet<Ino>): Promise<void> {
    const missing = new Set(inodes);
    await this.#learn(EMPTY, ({ ino }) => missing.delete(ino), () => missing.size === 0);
  }

  async #learn(within: Buffer, wanted: (found: DirectoryEntryRecord) => boolean, enough: () => boolean = () => false): Promise<void> {
    for await (const some of diffTrees(NO_RECORDS, this.#source, { within })) {
      const entries = some.flatMap(({ key, after }) => {
        const parsed = parseKey(key);
        return after !== null && parsed.type === 'entry' ? [{ key, hash: after, dir: parsed.ino, name: parsed.name }] : [];
      });
      const values = await readRecords(this.#source, entries);
      for (const [i, { dir, name }] of entries.entries()) {
        const found = decodeEntry(values[i] as Buffer);
        if (wanted(found)) this.#names.set(found.ino, { dir, name });
      }
      if (enough()) return;
    }
  }
}
