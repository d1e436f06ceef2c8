/** rename() of the model: rename(2) of POSIX, the errno order of Linux. */
import type { At, Operation, Results } from '../../fsservice/operations.ts';
import type { ModelFileSystem } from './model_fs.ts';
import { allowed, demand, fail, isDirectory, isName, linkCount, occupant, placeOf, type Node } from './model_tree.ts';

type Rename = Extract<Operation, { type: 'rename' }>;

function isWithin(node: Node, ancestor: Node): boolean {
  for (let up: Node | null = node; up !== null; up = up.parent) if (up === ancestor) return true;
  return false;
}

export class ModelRenames {
  readonly #fs: ModelFileSystem;

  constructor(fs: ModelFileSystem) {
    this.#fs = fs;
  }

  rename(o: Rename): Results['rename'] {
    const fs = this.#fs;
    const from = placeOf(fs, fs.who, o.from);
    const to = placeOf(fs, fs.who, o.to);
    const refuse = (at: At, errno: 'EBUSY' | 'EEXIST'): never => fail(at.path.length === 0 ? 'ENOENT' : errno);
    if (!isName(from)) refuse(o.from, 'EBUSY');
    if (!isName(to)) refuse(o.to, o.flags === 'noreplace' ? 'EEXIST' : 'EBUSY');
    const node: Node = occupant(fs, from) ?? fail('ENOENT');
    const other = occupant(fs, to);
    if (o.flags === 'noreplace') demand(other === undefined, 'EEXIST');
    const swap = o.flags === 'exchange';
    if (swap) {
      demand(other !== undefined, 'ENOENT');
      demand(!to.mustBeDirectory || (other !== undefined && isDirectory(other)), 'ENOTDIR');
    }
    if (!isDirectory(node)) {
      demand(!from.mustBeDirectory, 'ENOTDIR');
      demand(swap || !to.mustBeDirectory, 'ENOTDIR');
    }
    if (from.dir !== to.dir) {
      if (isDirectory(node)) demand(!isWithin(to.dir, node), 'EINVAL');
      if (other !== undefined && isDirectory(other)) demand(!isWithin(from.dir, other), swap ? 'EINVAL' : 'ENOTEMPTY');
    }
    if (node === other) return {};
    this.#check(from.dir, to.dir, node, other, swap);

    from.dir.children.delete(from.base);
    if (swap && other !== undefined) {
      from.dir.children.set(from.base, other);
      if (isDirectory(other)) other.parent = from.dir;
      fs.changed(other);
    }
    to.dir.children.set(to.base, node);
    if (isDirectory(node)) node.parent = to.dir;
    fs.contentsChanged(from.dir);
    fs.contentsChanged(to.dir);
    fs.changed(node);
    if (!swap && other !== undefined) fs.lostName(other);
    return {};
  }

  #check(fromDir: Node, toDir: Node, node: Node, other: Node | undefined, swap: boolean): void {
    const fs = this.#fs;
    fs.checkRemoval(fromDir, node, isDirectory(node));
    if (other === undefined) demand(allowed(fs.who, toDir, 'wx'), 'EACCES');
    else fs.checkRemoval(toDir, other, swap ? isDirectory(other) : isDirectory(node));
    const otherIsDirectory = other !== undefined && isDirectory(other);
    if (fromDir !== toDir) {
      if (isDirectory(node)) demand(allowed(fs.who, node, 'w'), 'EACCES');
      if (swap && other !== undefined && otherIsDirectory) demand(allowed(fs.who, other, 'w'), 'EACCES');
      if (isDirectory(node) && !otherIsDirectory) demand(linkCount(toDir, fs.root) < 65_000, 'EMLINK');
      if (swap && !isDirectory(node) && otherIsDirectory) demand(linkCount(fromDir, fs.root) < 65_000, 'EMLINK');
    }
    if (!swap && other !== undefined && otherIsDirectory) demand(other.children.size === 0, 'ENOTEMPTY');
  }
}
