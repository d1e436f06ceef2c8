/**
 * A plain, sequential file system in memory, with the operations of fsservice/operations.ts: what the replicated one is
 * compared with. Maps and objects, nothing cut into steps, written from POSIX's and Linux's rules.
 *
 * Where the state machine is free in the moment (how far a removed tree, a large truncation, released orphans have been
 * collected), `apply` follows the `actual` result that it is given, as far as that is one of the allowed ones.
 */
import { defined } from '../../lib/assert.ts';
import type { Ino } from '../../lib/ids.ts';
import { Errno, type ErrnoCode } from '../../fsservice/errno.ts';
import { DEFAULT_LIMITS, type Limits } from '../../fsservice/limits.ts';
import type {
  At, Attributes, Call, Credentials, DirectoryEntry, FileType, Operation, OperationType, Result, Results, Timestamp,
} from '../../fsservice/operations.ts';
import { ModelContents } from './model_contents.ts';
import { ModelRenames } from './model_rename.ts';
import {
  allowed, demand, fail, Failure, follow, isDirectory, isName, isRemoved, linkCount, memberOf, nodeOf, occupant, owns, placeOf, textOf,
  type Node, type Place, type Tree,
} from './model_tree.ts';

type Of<T extends OperationType> = Extract<Operation, { type: T }>;
type AnyResult = Result<OperationType>;

/** When and for whom an operation is executed. `time` in microseconds. */
export interface When {
  readonly op: number;
  readonly time: number;
  readonly session: number;
}

interface Holder {
  seenOp: number;
  open: ReadonlySet<number>;
}

export class ModelFileSystem implements Tree {
  readonly root: Node;
  readonly limits: Limits;
  readonly nodes = new Map<number, Node>();
  /** Gone here, but the state machine may not have collected them yet. */
  readonly lagging = new Map<number, Node>();
  /** Lost a name with a tree that is perhaps not collected yet. */
  readonly #inFlux = new Set<Node>();
  readonly #holders = new Map<number, Holder>();
  readonly #contents: ModelContents;
  readonly #renames: ModelRenames;
  #nextIno = 2;
  // Of the operation under way.
  #who: Credentials = { uid: 0, gid: 0, groups: [] };
  #when: When = { op: 0, time: 0, session: 0 };
  #actual: AnyResult | undefined;

  constructor(limits: Limits = DEFAULT_LIMITS) {
    this.limits = limits;
    this.root = this.#newNode(1, 'directory', 0o755, 0, 0);
    this.nodes.set(1, this.root);
    this.#contents = new ModelContents(this);
    this.#renames = new ModelRenames(this);
  }

  get who(): Credentials {
    return this.#who;
  }
  get when(): When {
    return this.#when;
  }
  get now(): Timestamp {
    const sec = Math.floor(this.#when.time / 1e6);
    return { sec, nsec: (this.#when.time - sec * 1e6) * 1000 };
  }
  get actual(): AnyResult | undefined {
    return this.#actual;
  }

  /** A session was registered at that op. */
  sessionStarted(op: number, flags: number): void {
    if ((flags & 1) === 1) this.#holders.set(op, { seenOp: op, open: new Set() });
  }

  sessionEnded(session: number): void {
    this.#holders.delete(session);
    this.#release();
  }

  /** The state machine has no more house-keeping to do. */
  settled(): void {
    this.#inFlux.clear();
    if (this.#holders.size === 0) this.lagging.clear();
  }

  apply<O extends Operation>(call: Call<O>, when: When, actual?: Result<O['type']>): Result<O['type']> {
    this.#who = call.credentials;
    this.#when = when;
    this.#actual = actual;
    try {
      return { ok: true, value: this.#perform(call.operation) } as Result<O['type']>;
    } catch (error) {
      if (error instanceof Failure) return { ok: false, errno: error.code } as Result<O['type']>;
      throw error;
    }
  }

  #perform(o: Operation): Results[OperationType] {
    switch (o.type) {
      case 'create': return this.#create(o);
      case 'mkdir': return this.#mkdir(o);
      case 'mknod': return this.#mknod(o);
      case 'symlink': return this.#symlink(o);
      case 'link': return this.#link(o);
      case 'unlink': return this.#unlink(o);
      case 'rmdir': return this.#rmdir(o);
      case 'rename': return this.#renames.rename(o);
      case 'setattr': return this.#contents.setattr(o);
      case 'write': return this.#contents.write(o);
      case 'putFile': return this.#contents.putFile(o);
      case 'setxattr': return this.#contents.setxattr(o);
      case 'removexattr': return this.#contents.removexattr(o);
      case 'removeTree': return this.#removeTree(o);
      case 'keepAlive': return this.#keepAlive(o);
      case 'collect':
        // The group's own, never a client's.
        demand(this.#when.session === 0, 'EPERM');
        return { freed: 0 };
      case 'checkpoint':
        demand(this.#who.uid === 0, 'EPERM');
        return { op: this.#when.op };
      case 'getattr': return { attributes: this.attributes(nodeOf(this, this.#who, o.at, o.follow)) };
      case 'read': return this.#contents.read(o);
      case 'readdir': return this.#readdir(o);
      case 'readlink': {
        const node = nodeOf(this, this.#who, o.at, false);
        demand(node.type === 'symlink', 'EINVAL');
        return { target: Buffer.from(node.target, 'latin1') };
      }
      case 'getxattr': return this.#contents.getxattr(o);
      case 'listxattr': return this.#contents.listxattr(o);
      case 'access': {
        demand(o.mask <= 7, 'EINVAL');
        const node = nodeOf(this, this.#who, o.at, true);
        const rights = (o.mask & 4 ? 'r' : '') + (o.mask & 2 ? 'w' : '') + (o.mask & 1 ? 'x' : '');
        demand(allowed(this.#who, node, rights), 'EACCES');
        return {};
      }
      case 'statfs': return this.statistics();
    }
  }

  // --- nodes ---------------------------------------------------------------------------------------------------------

  byNumber(ino: number): Node {
    const node = this.nodes.get(ino);
    if (node !== undefined) return node;
    const late = this.lagging.get(ino);
    const isThere = this.#actual !== undefined && (this.#actual.ok || this.#actual.errno !== Errno.ESTALE);
    if (late === undefined || !isThere) {
      this.lagging.delete(ino);
      fail('ESTALE');
    }
    late.uncertain = true;
    return late;
  }

  #newNode(ino: number, type: FileType, mode: number, uid: number, gid: number): Node {
    const { now } = this;
    return {
      ino, type, mode, uid, gid, rdev: 0, names: 1, length: 0, chunks: new Map(), target: '', children: new Map(), parent: null, xattrs: new Map(),
      atime: now, mtime: now, ctime: now, birthtime: now, version: this.#when.op, unlinkedAt: 0, uncertain: false,
    };
  }

  attributes(node: Node): Attributes {
    let size = node.length;
    if (isDirectory(node)) size = node.children.size * 32;
    if (node.type === 'symlink') size = node.target.length;
    return {
      ino: node.ino as Ino, type: node.type, mode: node.mode, nlink: linkCount(node, this.root), uid: node.uid, gid: node.gid, rdev: node.rdev, size,
      blocks: this.#contents.blocks(node), atime: node.atime, mtime: node.mtime, ctime: node.ctime, birthtime: node.birthtime, version: node.version,
    };
  }

  statistics(): Results['statfs'] {
    let bytes = 0;
    let orphans = 0;
    for (const node of this.nodes.values()) {
      bytes += this.#contents.blocks(node) * 512;
      if (node.unlinkedAt !== 0) orphans++;
    }
    return { inodes: this.nodes.size, maxInodes: this.limits.maxInodes, bytes, maxBytes: this.limits.maxBytes, blockSize: 65_536, orphans };
  }

  changed(node: Node): void {
    node.ctime = this.now;
    node.version = this.#when.op;
    if (!this.#inFlux.has(node)) node.uncertain = false;
  }
  contentsChanged(node: Node): void {
    node.mtime = this.now;
    this.changed(node);
  }

  // --- making --------------------------------------------------------------------------------------------------------

  /** The free place for a new name. */
  vacancy(at: At, forDirectory: boolean): Place {
    const place = placeOf(this, this.#who, at);
    if (at.path.length === 0) fail('ENOENT');
    demand(isName(place), 'EEXIST');
    demand(occupant(this, place) === undefined, 'EEXIST');
    demand(forDirectory || !place.mustBeDirectory, 'ENOENT');
    demand(allowed(this.#who, place.dir, 'wx'), 'EACCES');
    return place;
  }

  /** open(O_CREAT): a node or the place to make it. */
  openOrPlace(at: At, exclusive: boolean): { readonly node: Node } | { readonly place: Place } {
    if (at.path.length === 0) fail('ENOENT');
    let place = placeOf(this, this.#who, at);
    for (;;) {
      if (!isName(place)) fail(exclusive ? 'EEXIST' : 'EISDIR');
      demand(!place.mustBeDirectory, 'EISDIR');
      const node = occupant(this, place);
      if (node === undefined) return { place };
      demand(!exclusive, 'EEXIST');
      demand(!isDirectory(node), 'EISDIR');
      if (node.type !== 'symlink') return { node };
      place = follow(this, this.#who, place, node);
    }
  }

  checkRoom(dir: Node, type: FileType): void {
    demand(allowed(this.#who, dir, 'wx'), 'EACCES');
    if (type === 'directory') demand(linkCount(dir, this.root) < 65_000, 'EMLINK');
    demand(this.nodes.size < this.limits.maxInodes, 'ENOSPC');
  }

  make(place: Place, type: FileType, mode: number): Node {
    this.checkRoom(place.dir, type);
    const { dir } = place;
    let gid = this.#who.gid;
    let bits = mode;
    if ((dir.mode & 0o2000) !== 0) {
      gid = dir.gid;
      if (type === 'directory') bits |= 0o2000;
      else if ((bits & 0o2010) === 0o2010 && this.#who.uid !== 0 && !memberOf(this.#who, gid)) bits &= ~0o2000;
    }
    const node = this.#newNode(this.#nextIno++, type, bits, this.#who.uid, gid);
    this.nodes.set(node.ino, node);
    dir.children.set(place.base, node);
    if (type === 'directory') node.parent = dir;
    this.contentsChanged(dir);
    return node;
  }

  #create(o: Of<'create'>): Results['create'] {
    const found = this.openOrPlace(o.at, o.exclusive);
    if ('place' in found) return { attributes: this.attributes(this.make(found.place, 'file', o.mode)), created: true };
    const { node } = found;
    if (o.truncate && node.type === 'file') {
      demand(allowed(this.#who, node, 'w'), 'EACCES');
      this.#contents.resize(node, 0);
    }
    return { attributes: this.attributes(node), created: false };
  }

  #mkdir(o: Of<'mkdir'>): Results['mkdir'] {
    return { attributes: this.attributes(this.make(this.vacancy(o.at, true), 'directory', o.mode & 0o1777)) };
  }

  #mknod(o: Of<'mknod'>): Results['mknod'] {
    demand(o.fileType !== 'directory', 'EPERM');
    demand(o.fileType !== 'symlink', 'EINVAL');
    const place = this.vacancy(o.at, false);
    const isDevice = o.fileType === 'block' || o.fileType === 'character';
    demand(!isDevice || this.#who.uid === 0, 'EPERM');
    const node = this.make(place, o.fileType, o.mode);
    if (isDevice) node.rdev = o.rdev;
    return { attributes: this.attributes(node) };
  }

  #symlink(o: Of<'symlink'>): Results['symlink'] {
    demand(o.target.length > 0, 'ENOENT');
    demand(o.target.length < 4096, 'ENAMETOOLONG');
    demand(!o.target.includes(0), 'EINVAL');
    const node = this.make(this.vacancy(o.at, false), 'symlink', 0o777);
    node.target = textOf(o.target);
    return { attributes: this.attributes(node) };
  }

  #link(o: Of<'link'>): Results['link'] {
    const node = nodeOf(this, this.#who, o.from, o.follow);
    const place = this.vacancy(o.to, false);
    demand(!isDirectory(node), 'EPERM');
    if (node.uncertain && node.names === 0 && this.#actual?.ok === true) {
      // Linked again before the removed tree was collected as far as to it.
      this.lagging.delete(node.ino);
      this.nodes.set(node.ino, node);
      node.unlinkedAt = 0;
    } else {
      demand(node.names > 0, 'ENOENT');
    }
    demand(node.names < 65_000, 'EMLINK');
    node.names++;
    place.dir.children.set(place.base, node);
    this.changed(node);
    this.contentsChanged(place.dir);
    return { attributes: this.attributes(node) };
  }

  // --- removing ------------------------------------------------------------------------------------------------------

  /** May the name `node` be taken out of `dir` by a call that removes directories, or one that removes all else? */
  checkRemoval(dir: Node, node: Node, directories: boolean): void {
    demand(allowed(this.#who, dir, 'wx'), 'EACCES');
    if ((dir.mode & 0o1000) !== 0) demand(owns(this.#who, node) || this.#who.uid === dir.uid, 'EPERM');
    if (directories) demand(isDirectory(node), 'ENOTDIR');
    else demand(!isDirectory(node), 'EISDIR');
  }

  /** One name of a node is gone. */
  lostName(node: Node): void {
    node.parent = null;
    if (!isDirectory(node)) node.names--;
    this.changed(node);
    // A name of it in a removed tree may not have been collected yet.
    if (isDirectory(node) || node.names === 0) this.#lostAll(node, this.#inFlux.has(node));
  }

  #lostAll(node: Node, later: boolean): void {
    if (this.#holders.size > 0) {
      node.unlinkedAt = this.#when.op;
      return;
    }
    this.nodes.delete(node.ino);
    if (later) this.lagging.set(node.ino, node);
  }

  #unlink(o: Of<'unlink'>): Results['unlink'] {
    const place = placeOf(this, this.#who, o.at);
    if (o.at.path.length === 0) fail('ENOENT');
    demand(isName(place), 'EISDIR');
    const node: Node = occupant(this, place) ?? fail('ENOENT');
    if (place.mustBeDirectory) fail(isDirectory(node) ? 'EISDIR' : 'ENOTDIR');
    this.checkRemoval(place.dir, node, false);
    place.dir.children.delete(place.base);
    this.contentsChanged(place.dir);
    this.lostName(node);
    return { ino: node.ino as Ino, nlink: node.names };
  }

  #victim(at: At): { readonly place: Place; readonly node: Node } {
    const place = placeOf(this, this.#who, at);
    if (at.path.length === 0) fail('ENOENT');
    demand(place.base !== '', 'EBUSY');
    demand(place.base !== '.', 'EINVAL');
    demand(place.base !== '..', 'ENOTEMPTY');
    return { place, node: occupant(this, place) ?? fail('ENOENT') };
  }

  #rmdir(o: Of<'rmdir'>): Results['rmdir'] {
    const { place, node } = this.#victim(o.at);
    this.checkRemoval(place.dir, node, true);
    demand(node.children.size === 0, 'ENOTEMPTY');
    place.dir.children.delete(place.base);
    this.contentsChanged(place.dir);
    this.lostName(node);
    return { ino: node.ino as Ino };
  }

  #removeTree(o: Of<'removeTree'>): Results['removeTree'] {
    const { place, node } = this.#victim(o.at);
    demand(!place.mustBeDirectory || isDirectory(node), 'ENOTDIR');
    this.checkRemoval(place.dir, node, isDirectory(node));
    demand(!isDirectory(node) || this.#who.uid === 0, 'EPERM');
    place.dir.children.delete(place.base);
    this.contentsChanged(place.dir);
    if (node.children.size === 0) this.lostName(node);
    else this.#lostTree(node);
    return { ino: node.ino as Ino };
  }

  #lostTree(top: Node): void {
    const todo = [top];
    for (let node = todo.pop(); node !== undefined; node = todo.pop()) {
      node.uncertain = true;
      this.#inFlux.add(node);
      if (isDirectory(node)) {
        todo.push(...node.children.values());
        node.children.clear();
        node.parent = null;
        this.#lostAll(node, true);
      } else {
        node.names--;
        if (node.names === 0) this.#lostAll(node, true);
      }
    }
  }

  // --- sessions ------------------------------------------------------------------------------------------------------

  #keepAlive(o: Of<'keepAlive'>): Results['keepAlive'] {
    const holder: Holder = this.#holders.get(this.#when.session) ?? fail('EINVAL');
    demand(o.seenOp < this.#when.op, 'EINVAL');
    if (o.seenOp >= holder.seenOp) {
      holder.seenOp = o.seenOp;
      holder.open = new Set(o.open);
      this.#release();
    }
    return { orphans: this.statistics().orphans };
  }

  /** Frees every orphan that each live holder has denied since the unlink. */
  #release(): void {
    const holders = [...this.#holders.values()];
    for (const node of [...this.nodes.values()]) {
      if (node.unlinkedAt === 0) continue;
      if (holders.some((h) => h.seenOp < node.unlinkedAt || h.open.has(node.ino))) continue;
      this.nodes.delete(node.ino);
      this.lagging.set(node.ino, node);
    }
  }

  // --- listing -------------------------------------------------------------------------------------------------------

  #readdir(o: Of<'readdir'>): Results['readdir'] {
    demand(o.limit > 0, 'EINVAL');
    demand(o.after.length <= 255, 'ENAMETOOLONG');
    const dir = nodeOf(this, this.#who, o.at, true);
    demand(isDirectory(dir), 'ENOTDIR');
    demand(allowed(this.#who, dir, 'r'), 'EACCES');
    demand(!isRemoved(this, dir), 'ENOENT');
    const after = textOf(o.after);
    const rest = [...dir.children.keys()].filter((name) => name > after).sort((a, b) => (a < b ? -1 : 1));
    const page = rest.slice(0, Math.min(o.limit, 1024));
    const detailed = o.attributes && allowed(this.#who, dir, 'x');
    const entries = page.map((name): DirectoryEntry => {
      const node = defined(dir.children.get(name), 'a child');
      const entry = { name: Buffer.from(name, 'latin1'), ino: node.ino as Ino, type: node.type };
      return detailed ? { ...entry, attributes: this.attributes(node) } : entry;
    });
    return { entries, end: page.length === rest.length, ino: dir.ino as Ino, parent: (dir.parent ?? dir).ino as Ino };
  }

  /** Whether the state machine answered with that errno. */
  answered(errno: ErrnoCode): boolean {
    return this.#actual !== undefined && !this.#actual.ok && this.#actual.errno === errno;
  }
}
