/**
 * What differs between two checkpoints, as paths: the record differences (checkpoint/tree_diff.ts) with a name for each. Directory
 * entries name what came, went and moved. An inode that is changed in place has no entry that differs, and files do not know
 * their directory; so the names of those are looked for among all entries, which is the one part whose cost grows with the state.
 */
import { AssertionError, defined } from '../lib/assert.ts';
import { diffTrees, readRecords, TreeSourceError, type RecordDifference, type TreeSource } from '../checkpoint/tree_diff.ts';
import { decodeInode, type Inode } from '../fsservice/inode.ts';
import { inodeKey, parseKey } from '../fsservice/keys.ts';
import { ROOT_INO, type FileType } from '../fsservice/operations.ts';
import { decodeEntry, type DirectoryEntryRecord } from '../fsservice/records.ts';
import type { Ino } from '../lib/ids.ts';
import { TreeNames } from './checkpoint_names.ts';
import { NotVerified } from './errors.ts';

/** What is different of something that is there in both. */
export type Aspect = 'type' | 'content' | 'size' | 'entries' | 'target' | 'mode' | 'owner' | 'links' | 'xattrs' | 'mtime' | 'atime' | 'ctime';

export interface PathChange {
  /** 'replaced': the name leads to another inode. 'moved': the inode has another name. 'changed': in place. */
  readonly kind: 'added' | 'removed' | 'replaced' | 'moved' | 'changed';
  /** In the newer checkpoint; of what was removed, in the older. Null: no name was looked for, or found. */
  readonly path: Buffer | null;
  /** Of what was moved: in the older. */
  readonly from: Buffer | null;
  readonly ino: Ino;
  readonly type: FileType;
  /** Of what is there in both. */
  readonly aspects: readonly Aspect[];
}

export interface NamespaceDiff {
  /** In the order of their paths. */
  readonly changes: readonly PathChange[];
  /** Records that differ, and those among them that belong to no path: sessions, stored replies, totals, files without a name. */
  readonly records: number;
  readonly internal: number;
}

export interface NamespaceDiffOptions {
  /** Look through all entries for the names of what was changed in place. Default true. */
  readonly search?: boolean;
  /** Called before that, with how many names are looked for. */
  readonly onSearch?: (names: number) => Promise<void>;
}

interface Versions {
  before: Buffer | null;
  after: Buffer | null;
}
interface EntryChange {
  readonly key: Buffer;
  readonly dir: Ino;
  readonly name: Buffer;
  readonly before: DirectoryEntryRecord | null;
  readonly after: DirectoryEntryRecord | null;
}
interface InodeChange {
  readonly ino: Ino;
  readonly before: Inode | null;
  readonly after: Inode | null;
  readonly aspects: ReadonlySet<Aspect>;
}

/** Rejects with NotVerified when a side gives what does not belong to its root. */
export async function diffNamespaces(before: TreeSource, after: TreeSource, options: NamespaceDiffOptions = {}): Promise<NamespaceDiff> {
  try {
    return await new Comparison(before, after, options).run();
  } catch (error) {
    // Records that hash right and cannot be decoded are those of a root that no replica has.
    if (error instanceof TreeSourceError || error instanceof AssertionError || error instanceof RangeError) {
      throw new NotVerified('refused', `what a replica answers does not belong to its checkpoint: ${error.message}`, { cause: error });
    }
    throw error;
  }
}

class Comparison {
  readonly #before: TreeSource;
  readonly #after: TreeSource;
  readonly #options: NamespaceDiffOptions;
  readonly #oldNames: TreeNames;
  readonly #newNames: TreeNames;
  readonly #entryKeys: RecordDifference[] = [];
  readonly #inodes = new Map<Ino, Versions>();
  readonly #aspects = new Map<Ino, Set<Aspect>>();
  #records = 0;
  #internal = 0;

  constructor(before: TreeSource, after: TreeSource, options: NamespaceDiffOptions) {
    this.#before = before;
    this.#after = after;
    this.#options = options;
    this.#oldNames = new TreeNames(before);
    this.#newNames = new TreeNames(after);
  }

  async run(): Promise<NamespaceDiff> {
    for await (const some of diffTrees(this.#before, this.#after)) for (const difference of some) this.#sort(difference);
    const entries = await this.#entries();
    const inodes = await this.#inodeChanges();
    const changes = [...(await this.#named(entries, inodes)), ...(await this.#inPlace(entries, inodes))];
    changes.sort((a, b) => (a.path === null || b.path === null ? Number(a.path === null) - Number(b.path === null) || a.ino - b.ino : Buffer.compare(a.path, b.path)));
    return { changes, records: this.#records, internal: this.#internal };
  }

  #sort(difference: RecordDifference): void {
    this.#records++;
    const key = parseKey(difference.key);
    switch (key.type) {
      case 'system':
        this.#internal++;
        return;
      case 'entry':
        this.#entryKeys.push(difference);
        return;
      case 'inode':
        this.#inodes.set(key.ino, difference);
        return;
      case 'xattr':
        this.#add(key.ino, 'xattrs');
        return;
      case 'target':
        this.#add(key.ino, 'target');
        return;
      case 'block':
        this.#add(key.ino, 'content');
        return;
    }
  }

  #add(ino: Ino, aspect: Aspect): void {
    const aspects = this.#aspects.get(ino);
    if (aspects === undefined) this.#aspects.set(ino, new Set([aspect]));
    else aspects.add(aspect);
  }

  async #entries(): Promise<EntryChange[]> {
    const old = await values(this.#before, this.#entryKeys, 'before');
    const now = await values(this.#after, this.#entryKeys, 'after');
    return this.#entryKeys.map((difference) => {
      const { key } = difference;
      const parsed = parseKey(key);
      if (parsed.type !== 'entry') throw new AssertionError('an entry has the key of one');
      const [before, after] = [old.get(difference), now.get(difference)];
      const change: EntryChange = { key, dir: parsed.ino, name: parsed.name, before: before === undefined ? null : decodeEntry(before), after: after === undefined ? null : decodeEntry(after) };
      if (change.before !== null) this.#oldNames.know(change.before, change.dir, change.name);
      if (change.after !== null) this.#newNames.know(change.after, change.dir, change.name);
      return change;
    });
  }

  async #inodeChanges(): Promise<Map<Ino, InodeChange>> {
    const differences = [...this.#inodes].map(([ino, versions]) => ({ ino, key: inodeKey(ino), ...versions }));
    const old = await values(this.#before, differences, 'before');
    const now = await values(this.#after, differences, 'after');
    const changes = new Map<Ino, InodeChange>(differences.map((difference) => {
      const { ino } = difference;
      const [a, b] = [old.get(difference), now.get(difference)];
      const before = a === undefined ? null : decodeInode(ino, a);
      const after = b === undefined ? null : decodeInode(ino, b);
      const aspects = new Set(this.#aspects.get(ino));
      if (before !== null && after !== null) for (const aspect of aspectsOf(before, after)) aspects.add(aspect);
      return [ino, { ino, before, after, aspects }] as const;
    }));
    // Every operation that changes contents changes the inode; replicas that have gone astray may differ in contents alone.
    for (const [ino, aspects] of this.#aspects) {
      if (changes.has(ino)) continue;
      const inode = await this.#newNames.inode(ino);
      if (inode === null) this.#internal++;
      else changes.set(ino, { ino, before: inode, after: inode, aspects });
    }
    return changes;
  }

  /** Of entries that came, went, or lead elsewhere. */
  async #named(entries: readonly EntryChange[], inodes: ReadonlyMap<Ino, InodeChange>): Promise<PathChange[]> {
    const gone = countsOf(entries, 'before');
    const come = countsOf(entries, 'after');
    const origin = new Map(entries.flatMap((entry) => (entry.before === null ? [] : [[entry.before.ino, entry] as const])));
    const isMove = (ino: Ino): boolean => gone.get(ino) === 1 && come.get(ino) === 1;
    const changes: PathChange[] = [];
    for (const { dir, name, before, after } of entries) {
      if (after !== null) {
        const { ino, type } = after;
        const path = await this.#newNames.pathOf(dir, name);
        const aspects = [...(inodes.get(ino)?.before === null ? [] : (inodes.get(ino)?.aspects ?? []))];
        const from = before?.ino !== ino && isMove(ino) ? origin.get(ino) : undefined;
        if (from !== undefined) changes.push({ kind: 'moved', path, from: await this.#oldNames.pathOf(from.dir, from.name), ino, type, aspects });
        else changes.push({ kind: before === null ? 'added' : before.ino === ino ? 'changed' : 'replaced', path, from: null, ino, type, aspects: before?.ino === ino ? ['type'] : aspects });
      } else if (before !== null && !isMove(before.ino)) {
        changes.push({ kind: 'removed', path: await this.#oldNames.pathOf(dir, name), from: null, ino: before.ino, type: before.type, aspects: [] });
      }
    }
    return changes;
  }

  /** Of inodes that have the names that they had. */
  async #inPlace(entries: readonly EntryChange[], inodes: ReadonlyMap<Ino, InodeChange>): Promise<PathChange[]> {
    const named = new Set(entries.flatMap(({ after }) => (after === null ? [] : [after.ino])));
    const lost = new Set(entries.flatMap(({ before }) => (before === null ? [] : [before.ino])));
    const files: InodeChange[] = [];
    const changes: PathChange[] = [];
    for (const change of inodes.values()) {
      const { ino, before, after } = change;
      if (named.has(ino)) continue;
      if (after === null || after.unlinkedAt !== 0 || before === null) {
        // What has no name any more: its entry, or that of the tree that it was in, says so.
        if (!lost.has(ino)) this.#internal++;
      } else if (after.type === 'directory') {
        changes.push(inPlace(change, after, ino === ROOT_INO ? Buffer.from('/') : await this.#newNames.pathOfDirectory(ino)));
      } else {
        files.push(change);
      }
    }
    const unknown = new Set(files.filter(({ ino }) => !this.#newNames.has(ino)).map(({ ino }) => ino));
    if (unknown.size > 0 && this.#options.search !== false) {
      await this.#options.onSearch?.(unknown.size);
      await this.#newNames.search(unknown);
    }
    for (const change of files) changes.push(inPlace(change, defined(change.after ?? undefined, 'an inode'), await this.#newNames.pathOfKnown(change.ino)));
    return changes;
  }
}

function inPlace({ ino, aspects }: InodeChange, { type }: Inode, path: Buffer | null): PathChange {
  return { kind: 'changed', path, from: null, ino, type, aspects: [...aspects] };
}

function countsOf(entries: readonly EntryChange[], side: 'before' | 'after'): Map<Ino, number> {
  const counts = new Map<Ino, number>();
  for (const entry of entries) {
    const ino = entry[side]?.ino;
    if (ino !== undefined && entry.before?.ino !== entry.after?.ino) counts.set(ino, (counts.get(ino) ?? 0) + 1);
  }
  return counts;
}


/** Of those that are there on that side. */
async function values<T extends Pick<RecordDifference, 'key'> & Versions>(source: TreeSource, differences: readonly T[], side: 'before' | 'after'): Promise<Map<T, Buffer>> {
  const there = differences.flatMap((difference) => (difference[side] === null ? [] : [{ difference, key: difference.key, hash: difference[side] }]));
  const read = await readRecords(source, there);
  return new Map(there.map(({ difference }, i) => [difference, read[i] as Buffer]));
}

/** Every change has a new ctime and version: it is told of when there is nothing else. */
function aspectsOf(a: Inode, b: Inode): Aspect[] {
  const found: Aspect[] = [];
  const tell = (aspect: Aspect, differs: boolean): void => { if (differs) found.push(aspect); };
  const isDirectory = b.type === 'directory';
  const contents = a.mtimeSec !== b.mtimeSec || a.mtimeNsec !== b.mtimeNsec;
  tell('type', a.type !== b.type);
  tell(isDirectory ? 'entries' : 'size', a.size !== b.size);
  tell('mode', a.mode !== b.mode);
  tell('owner', a.uid !== b.uid || a.gid !== b.gid);
  tell('links', a.nlink !== b.nlink && !isDirectory);
  tell('mtime', contents);
  tell('atime', a.atimeSec !== b.atimeSec || a.atimeNsec !== b.atimeNsec);
  tell('ctime', found.length === 0);
  return found;
}
