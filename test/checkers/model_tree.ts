/**
 * The tree of the model file system: nodes that point to each other, paths walked as POSIX's "pathname resolution" (XBD
 * 4.13) says, permissions as its "file access permissions" (XBD 4.5). Shares nothing with fsservice but types and errno.
 */
import { Errno, type ErrnoName } from '../../fsservice/errno.ts';
import type { At, Credentials, FileType, Timestamp } from '../../fsservice/operations.ts';

export class Failure extends Error {
  readonly errno: ErrnoName;
  constructor(errno: ErrnoName) {
    super(errno);
    this.errno = errno;
  }
  get code(): (typeof Errno)[ErrnoName] {
    return Errno[this.errno];
  }
}

export function fail(errno: ErrnoName): never {
  // An ordinary answer of a file system, given by the thousand: where it was thrown does not matter, and costs.
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  const failure = new Failure(errno);
  Error.stackTraceLimit = stackTraceLimit;
  throw failure;
}

export function demand(condition: boolean, errno: ErrnoName): void {
  if (!condition) fail(errno);
}

export interface Node {
  readonly ino: number;
  readonly type: FileType;
  mode: number;
  uid: number;
  gid: number;
  rdev: number;
  /** Number of names; directories do not use it. */
  names: number;
  /** Of a file; other types derive it. */
  length: number;
  /** Of a file: what was written, by 64 KiB block, up to the last byte written in it. */
  chunks: Map<number, Buffer>;
  target: string;
  children: Map<string, Node>;
  /** Of a directory that has a name, or the root's own. */
  parent: Node | null;
  xattrs: Map<string, Buffer>;
  atime: Timestamp;
  mtime: Timestamp;
  ctime: Timestamp;
  birthtime: Timestamp;
  version: number;
  /** The op at which the last name went; 0: it has one. */
  unlinkedAt: number;
  /** A removed tree held a name of it: when the state machine notices is its own affair, and so are ctime and version until the next change. */
  uncertain: boolean;
}

export function isDirectory(node: Node): boolean {
  return node.type === 'directory';
}

export function linkCount(node: Node, root: Node): number {
  if (!isDirectory(node)) return node.names;
  if (node !== root && node.parent === null) return 0;
  let subdirectories = 0;
  for (const child of node.children.values()) if (isDirectory(child)) subdirectories++;
  return 2 + subdirectories;
}

// --- permissions -----------------------------------------------------------------------------------------------------

export type Right = 'r' | 'w' | 'x';
const SHIFT: Readonly<Record<Right, number>> = { r: 2, w: 1, x: 0 };

export function memberOf(who: Credentials, gid: number): boolean {
  return [who.gid, ...who.groups].includes(gid);
}

export function allowed(who: Credentials, node: Node, rights: string): boolean {
  const has = (right: Right, group: number): boolean => ((node.mode >> (group * 3 + SHIFT[right])) & 1) === 1;
  return ([...rights] as Right[]).every((right) => {
    if (who.uid === 0) return right !== 'x' || isDirectory(node) || has('x', 0) || has('x', 1) || has('x', 2);
    if (who.uid === node.uid) return has(right, 2);
    return has(right, memberOf(who, node.gid) ? 1 : 0);
  });
}

export function owns(who: Credentials, node: Node): boolean {
  return who.uid === 0 || who.uid === node.uid;
}

// --- paths -----------------------------------------------------------------------------------------------------------

/** Where a path's last component is looked for, and what it is: a name, '.', '..' or '' (the path names `dir` itself). */
export interface Place {
  readonly dir: Node;
  readonly base: string;
  readonly mustBeDirectory: boolean;
  readonly followed: number;
}

export interface Tree {
  readonly root: Node;
  /** The node of that number, or a failure ESTALE. */
  byNumber(ino: number): Node;
}

export function textOf(bytes: Buffer): string {
  return bytes.toString('latin1');
}

function reachable(tree: Tree, node: Node): boolean {
  let up: Node | null = node;
  while (up !== null && up !== tree.root) up = up.parent;
  return up === tree.root;
}

export function isRemoved(tree: Tree, node: Node): boolean {
  return isDirectory(node) && !reachable(tree, node);
}

export function placeOf(tree: Tree, who: Credentials, at: At): Place {
  const path = textOf(at.path);
  demand(path.length <= 4096, 'ENAMETOOLONG');
  demand(!path.includes('\0'), 'EINVAL');
  const start = path.startsWith('/') ? tree.root : tree.byNumber(at.dir);
  if (path !== '' && isRemoved(tree, start)) fail('ENOENT');
  return walk(tree, who, start, path, 0);
}

function walk(tree: Tree, who: Credentials, start: Node, path: string, followedBefore: number): Place {
  const todo = path.split('/').filter((part) => part !== '');
  const mustBeDirectory = path.endsWith('/');
  let here = path.startsWith('/') ? tree.root : start;
  let followed = followedBefore;
  for (;;) {
    const part = todo.shift();
    if (part === undefined) return { dir: here, base: '', mustBeDirectory, followed };
    demand(isDirectory(here), 'ENOTDIR');
    demand(allowed(who, here, 'x'), 'EACCES');
    demand(part.length <= 255, 'ENAMETOOLONG');
    if (todo.length === 0) return { dir: here, base: part, mustBeDirectory, followed };
    const next: Node = step(tree, here, part) ?? fail('ENOENT');
    if (next.type !== 'symlink') {
      here = next;
      continue;
    }
    followed++;
    demand(followed <= 40, 'ELOOP');
    if (next.target.startsWith('/')) here = tree.root;
    todo.unshift(...next.target.split('/').filter((p) => p !== ''));
  }
}

function step(tree: Tree, dir: Node, part: string): Node | undefined {
  if (part === '.') return dir;
  if (part === '..') return dir === tree.root ? dir : (dir.parent ?? undefined);
  return dir.children.get(part);
}

/** The same with the link at the place followed. */
export function follow(tree: Tree, who: Credentials, place: Place, link: Node): Place {
  demand(place.followed < 40, 'ELOOP');
  const suffix = place.mustBeDirectory ? '/' : '';
  return walk(tree, who, place.dir, link.target + suffix, place.followed + 1);
}

/** What is at a place, if anything. */
export function occupant(tree: Tree, place: Place): Node | undefined {
  return place.base === '' ? place.dir : step(tree, place.dir, place.base);
}

export function nodeOf(tree: Tree, who: Credentials, at: At, followLast: boolean): Node {
  let place = placeOf(tree, who, at);
  for (;;) {
    const node: Node = occupant(tree, place) ?? fail('ENOENT');
    if (place.base === '') return node;
    if (node.type === 'symlink' && (followLast || place.mustBeDirectory)) {
      place = follow(tree, who, place, node);
      continue;
    }
    demand(!place.mustBeDirectory || isDirectory(node), 'ENOTDIR');
    return node;
  }
}

export function isName(place: Place): boolean {
  return place.base !== '' && place.base !== '.' && place.base !== '..';
}
