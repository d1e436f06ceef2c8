/** Data, attributes and extended attributes of the model. */
import { Errno } from '../../fsservice/errno.ts';
import type { Operation, OperationType, Results, Timestamp } from '../../fsservice/operations.ts';
import type { ModelFileSystem } from './model_fs.ts';
import { allowed, demand, fail, isDirectory, memberOf, nodeOf, owns, textOf, type Node } from './model_tree.ts';

type Of<T extends OperationType> = Extract<Operation, { type: T }>;
const CHUNK = 65_536;

export class ModelContents {
  readonly #fs: ModelFileSystem;

  constructor(fs: ModelFileSystem) {
    this.#fs = fs;
  }

  blocks(node: Node): number {
    let units = 0;
    for (const chunk of node.chunks.values()) units += Math.ceil(chunk.length / 512);
    return units;
  }

  // --- data ----------------------------------------------------------------------------------------------------------

  #data(node: Node, right: 'r' | 'w', byNumber: boolean): void {
    const { who } = this.#fs;
    demand(!isDirectory(node), 'EISDIR');
    demand(node.type === 'file', 'EINVAL');
    demand(allowed(who, node, right) || (byNumber && who.uid === node.uid), 'EACCES');
  }

  read(o: Of<'read'>): Results['read'] {
    const node = nodeOf(this.#fs, this.#fs.who, o.at, true);
    this.#data(node, 'r', o.at.path.length === 0);
    const length = Math.max(0, Math.min(o.length, 1 << 20, node.length - o.offset));
    const data = Buffer.alloc(length);
    for (const [index, chunk] of node.chunks) {
      const skip = o.offset - index * CHUNK;
      if (skip >= 0) chunk.copy(data, 0, Math.min(skip, chunk.length));
      else if (-skip < length) chunk.copy(data, -skip);
    }
    return { data, size: node.length };
  }

  write(o: Of<'write'>): Results['write'] {
    const fs = this.#fs;
    const node = nodeOf(fs, fs.who, o.at, true);
    this.#data(node, 'w', o.at.path.length === 0);
    if (o.data.length === 0) return { attributes: fs.attributes(node) };
    const offset = o.offset === 'end' ? node.length : o.offset;
    const end = offset + o.data.length;
    demand(end <= fs.limits.maxFileSize, 'EFBIG');
    const after = this.#overlaid(node.chunks, offset, o.data);
    const growth = this.#units(after) - this.#units(node.chunks);
    demand(growth <= 0 || fs.statistics().bytes + growth * 512 <= fs.limits.maxBytes, 'ENOSPC');
    node.chunks = after;
    node.length = Math.max(node.length, end);
    this.#dataChanged(node);
    if (o.dropSetId === true) this.#killSetId(node);
    return { attributes: fs.attributes(node) };
  }

  #units(chunks: ReadonlyMap<number, Buffer>): number {
    return [...chunks.values()].reduce((sum, chunk) => sum + Math.ceil(chunk.length / 512), 0);
  }

  #overlaid(chunks: ReadonlyMap<number, Buffer>, offset: number, data: Buffer): Map<number, Buffer> {
    const out = new Map(chunks);
    for (let at = 0; at < data.length;) {
      const index = Math.floor((offset + at) / CHUNK);
      const within = offset + at - index * CHUNK;
      const part = data.subarray(at, at + CHUNK - within);
      const old = out.get(index) ?? Buffer.alloc(0);
      const chunk = Buffer.alloc(Math.max(old.length, within + part.length));
      old.copy(chunk);
      part.copy(chunk, within);
      out.set(index, chunk);
      at += part.length;
    }
    return out;
  }

  /** Set-id bits and file capabilities do not survive a change of data by anyone but root (capabilities: by anyone). */
  #dataChanged(node: Node): void {
    this.#fs.contentsChanged(node);
    node.xattrs.delete('security.capability');
    if (this.#fs.who.uid !== 0) this.#dropSetId(node);
  }

  #dropSetId(node: Node): void {
    const { who } = this.#fs;
    const isMember = who.uid === 0 || memberOf(who, node.gid);
    node.mode &= ~0o4000;
    if ((node.mode & 0o2000) !== 0 && ((node.mode & 0o010) !== 0 || !isMember)) node.mode &= ~0o2000;
  }

  /** What the kernel asks for on behalf of a writer whom it does not name. */
  #killSetId(node: Node): void {
    if (node.type !== 'file') return;
    node.mode &= (node.mode & 0o010) !== 0 ? 0o1777 : 0o3777;
  }

  resize(node: Node, size: number): void {
    demand(size <= this.#fs.limits.maxFileSize, 'EFBIG');
    for (const [index, chunk] of [...node.chunks]) {
      const keep = size - index * CHUNK;
      if (keep <= 0) node.chunks.delete(index);
      else if (keep < chunk.length) node.chunks.set(index, chunk.subarray(0, keep));
    }
    node.length = size;
    this.#dataChanged(node);
  }

  putFile(o: Of<'putFile'>): Results['putFile'] {
    const fs = this.#fs;
    const found = o.at.path.length === 0 ? { node: nodeOf(fs, fs.who, o.at, true) } : fs.openOrPlace(o.at, o.ifVersion === 0);
    const units = Math.ceil(o.data.length / 512);
    const hasRoom = (): boolean => o.data.length === 0 || fs.statistics().bytes + units * 512 <= fs.limits.maxBytes;
    if ('place' in found) {
      demand(o.ifVersion === null || o.ifVersion === 0, 'ENOENT');
      fs.checkRoom(found.place.dir, 'file');
      demand(o.data.length <= fs.limits.maxFileSize, 'EFBIG');
      demand(hasRoom(), 'ENOSPC');
      const node = fs.make(found.place, 'file', o.mode);
      node.chunks = this.#overlaid(new Map(), 0, o.data);
      node.length = o.data.length;
      return { attributes: fs.attributes(node), created: true };
    }
    const { node } = found;
    demand(o.ifVersion !== 0, 'EEXIST');
    this.#data(node, 'w', o.at.path.length === 0);
    if (o.ifVersion !== null) {
      // What the version is after a removed tree lost a name of it, only the state machine knows.
      if (node.uncertain) demand(!fs.answered(Errno.EAGAIN), 'EAGAIN');
      else demand(o.ifVersion === node.version, 'EAGAIN');
    }
    demand(o.data.length <= fs.limits.maxFileSize, 'EFBIG');
    demand(hasRoom(), 'ENOSPC');
    node.chunks = this.#overlaid(new Map(), 0, o.data);
    node.length = o.data.length;
    this.#dataChanged(node);
    return { attributes: fs.attributes(node), created: false };
  }

  // --- attributes ----------------------------------------------------------------------------------------------------

  setattr(o: Of<'setattr'>): Results['setattr'] {
    const fs = this.#fs;
    const { who } = fs;
    const node = nodeOf(fs, who, o.at, o.follow);
    const { mode, uid, gid, size, atime, mtime } = o.set;
    if (size !== undefined) {
      this.#data(node, 'w', o.at.path.length === 0);
      demand(size <= fs.limits.maxFileSize, 'EFBIG');
    }
    demand(uid !== 0xffff_ffff && gid !== 0xffff_ffff, 'EINVAL');
    if (uid !== undefined) demand(who.uid === 0 || (who.uid === node.uid && uid === node.uid), 'EPERM');
    if (gid !== undefined) demand(who.uid === 0 || (who.uid === node.uid && (gid === node.gid || memberOf(who, gid))), 'EPERM');
    if (mode !== undefined) {
      demand(node.type !== 'symlink', 'EOPNOTSUPP');
      demand(owns(who, node), 'EPERM');
    }
    if ((atime !== undefined || mtime !== undefined) && !owns(who, node)) {
      const given = [atime, mtime].filter((t) => t !== undefined);
      const onlyNow = given.every((t) => t === 'now');
      if (size === undefined || !onlyNow) {
        demand(onlyNow && given.length === 2, 'EPERM');
        demand(allowed(who, node, 'w'), 'EACCES');
      }
    }
    const isEmpty = [mode, uid, gid, size, atime, mtime].every((v) => v === undefined);
    if (isEmpty && o.dropSetId !== true) return { attributes: fs.attributes(node) };

    if (size !== undefined) this.resize(node, size);
    if (uid !== undefined || gid !== undefined || isEmpty) {
      if (!isDirectory(node)) this.#dropSetId(node);
      node.xattrs.delete('security.capability');
      node.uid = uid ?? node.uid;
      node.gid = gid ?? node.gid;
    }
    if (mode !== undefined) node.mode = who.uid === 0 || memberOf(who, node.gid) ? mode : mode & 0o5777;
    const timeOf = (t: Timestamp | 'now'): Timestamp => (t === 'now' ? fs.now : t);
    if (atime !== undefined) node.atime = timeOf(atime);
    if (mtime !== undefined) node.mtime = timeOf(mtime);
    if (o.dropSetId === true) this.#killSetId(node);
    fs.changed(node);
    return { attributes: fs.attributes(node) };
  }

  // --- extended attributes -------------------------------------------------------------------------------------------

  /** The name, when it is one that is kept and that the caller may use so. */
  #xattr(node: Node, bytes: Buffer, writing: boolean): string {
    const { who } = this.#fs;
    const name = textOf(bytes);
    const space = this.#space(name);
    if (space === 'trusted') demand(who.uid === 0, writing ? 'EPERM' : 'ENODATA');
    else if (space === 'security') demand(!writing || who.uid === 0, 'EPERM');
    else {
      if (node.type !== 'file' && !isDirectory(node)) fail(writing ? 'EPERM' : 'ENODATA');
      if (writing && isDirectory(node) && (node.mode & 0o1000) !== 0) demand(owns(who, node), 'EPERM');
      demand(allowed(who, node, writing ? 'w' : 'r'), 'EACCES');
    }
    return name;
  }

  #space(name: string): string {
    demand(name.length > 0 && name.length <= 255, 'ERANGE');
    demand(!name.includes('\0'), 'EINVAL');
    const dot = name.indexOf('.');
    const space = name.slice(0, Math.max(0, dot));
    demand(['user', 'trusted', 'security'].includes(space), 'EOPNOTSUPP');
    demand(name.length > dot + 1, 'EINVAL');
    return space;
  }

  setxattr(o: Of<'setxattr'>): Results['setxattr'] {
    const fs = this.#fs;
    const node = nodeOf(fs, fs.who, o.at, o.follow);
    this.#space(textOf(o.name));
    demand(o.value.length <= 65_536, 'E2BIG');
    const name = this.#xattr(node, o.name, true);
    if (o.mode === 'create') demand(!node.xattrs.has(name), 'EEXIST');
    if (o.mode === 'replace') demand(node.xattrs.has(name), 'ENODATA');
    const after = new Map(node.xattrs).set(name, Buffer.from(o.value));
    const total = [...after].reduce((sum, [key, value]) => sum + key.length + value.length, 0);
    demand(total <= 262_144, 'ENOSPC');
    node.xattrs = after;
    fs.changed(node);
    return {};
  }

  removexattr(o: Of<'removexattr'>): Results['removexattr'] {
    const fs = this.#fs;
    const node = nodeOf(fs, fs.who, o.at, o.follow);
    demand(node.xattrs.delete(this.#xattr(node, o.name, true)), 'ENODATA');
    fs.changed(node);
    return {};
  }

  getxattr(o: Of<'getxattr'>): Results['getxattr'] {
    const node = nodeOf(this.#fs, this.#fs.who, o.at, o.follow);
    return { value: node.xattrs.get(this.#xattr(node, o.name, false)) ?? fail('ENODATA') };
  }

  listxattr(o: Of<'listxattr'>): Results['listxattr'] {
    const { who } = this.#fs;
    const node = nodeOf(this.#fs, who, o.at, o.follow);
    const names = [...node.xattrs.keys()].filter((name) => who.uid === 0 || !name.startsWith('trusted.'));
    return { names: names.sort((a, b) => (a < b ? -1 : 1)).map((name) => Buffer.from(name, 'latin1')) };
  }
}
