/** Records as those of a file system, for the benchmarks of checkpoints and transfers: directories of 1 to 40 files, each with a name and an inode. */
import { Prng } from '../../lib/prng.ts';

/** Null: it is deleted. */
export type Change = readonly [key: Buffer, value: Buffer | null];

function key(ino: number, kind: number, name = ''): Buffer {
  const bytes = Buffer.alloc(7 + name.length);
  bytes.writeUIntBE(ino, 0, 6);
  bytes[6] = kind;
  bytes.write(name, 7, 'latin1');
  return bytes;
}

export class Dataset {
  readonly #r = new Prng(1);
  readonly directories: number[] = [];
  /** Of each directory the keys of what is in it. */
  readonly #contents = new Map<number, Buffer[]>();
  readonly #forgetful: boolean;
  readonly inodes: number[] = [];
  nextIno = 1;

  /** `forgetful`: it does not remember what is in its directories, and nothing can be removed; for ten million records. */
  constructor(forgetful = false) {
    this.#forgetful = forgetful;
  }

  attributes(): Buffer {
    const bytes = Buffer.alloc(96);
    this.#r.bytes(24).copy(bytes);
    return bytes;
  }
  *initial(records: number): Generator<readonly [key: Buffer, value: Buffer]> {
    for (let made = 0; made < records; ) {
      const directory = this.nextIno++;
      this.directories.push(directory);
      yield [key(directory, 0), this.attributes()];
      const files = 1 + this.#r.below(40);
      for (let i = 0; i < files; i++) {
        const name = key(directory, 1, `report_${this.#r.below(1000)}_${i}.json`);
        yield [name, Buffer.alloc(9, i)];
        const inode = key(this.nextIno, 0);
        this.inodes.push(this.nextIno++);
        yield [inode, this.attributes()];
        this.#add(directory, name, inode);
      }
      made += 1 + 2 * files;
    }
  }
  /** Files made in one directory; in many; existing inodes changed. */
  clustered(files: number): Change[] {
    return this.#create(this.#r.pick(this.directories), files);
  }
  spread(directories: number, files: number): Change[] {
    const out: Change[] = [];
    for (let i = 0; i < directories; i++) out.push(...this.#create(this.#r.pick(this.directories), files));
    return out;
  }
  random(n: number): Change[] {
    return Array.from({ length: n }, () => [key(this.#r.pick(this.inodes), 0), this.attributes()] as const);
  }
  /** So many directories with all that is in them; of what is above them nothing is here. */
  removeAll(directories: number): Change[] {
    const out: Change[] = [];
    for (let i = 0; i < directories; i++) {
      const at = this.#r.below(this.directories.length);
      const directory = this.directories[at];
      if (directory === undefined) break;
      this.directories.splice(at, 1);
      for (const k of this.#contents.get(directory) ?? []) out.push([k, null]);
      out.push([key(directory, 0), null]);
      this.#contents.delete(directory);
    }
    return out;
  }
  #create(directory: number, files: number): Change[] {
    const out: Change[] = [[key(directory, 0), this.attributes()]];
    for (let i = 0; i < files; i++) {
      const name = key(directory, 1, `new-${this.nextIno}.dat`);
      const inode = key(this.nextIno++, 0);
      out.push([name, Buffer.alloc(9, i)], [inode, this.attributes()]);
      this.#add(directory, name, inode);
    }
    return out;
  }
  #add(directory: number, ...keys: Buffer[]): void {
    if (this.#forgetful) return;
    const contents = this.#contents.get(directory) ?? [];
    this.#contents.set(directory, contents);
    contents.push(...keys);
  }
}
