/** Random calls over a small name space, by several users: most of them meet something. */
import type { Prng } from '../../lib/prng.ts';
import type { Ino } from '../../lib/ids.ts';
import type { At, Credentials, FileType, Operation, SetAttributes, Timestamp } from '../../fsservice/operations.ts';
import { ALICE, BOB, CAROL, ROOT } from './harness.ts';

const NAMES = ['a', 'b', 'c', 'd', 'link', 'a', 'b', '.', '..'];
const TARGETS = ['a', 'b', '../a', '/', '/a/b', 'link', 'nowhere', 'c/', '.', '..', '/b/'];
const XATTRS = ['user.a', 'user.a', 'user.a', 'user.b', 'user.b', 'trusted.t', 'security.s', 'security.capability', 'system.posix_acl_access', 'user.', 'bad', ''];
const TYPES: readonly FileType[] = ['file', 'fifo', 'socket', 'block', 'character', 'directory', 'symlink'];

/** What there is to aim at. */
export interface Weights {
  /** Inode numbers up to this were given out, for calls by number. */
  readonly maxIno: number;
  /** Paths that exist, and those of them that are directories ('' is the root). */
  readonly paths: readonly string[];
  readonly directories: readonly string[];
  readonly bigFiles: boolean;
}

export function randomCredentials(rng: Prng): Credentials {
  return rng.pick([ROOT, ROOT, ALICE, ALICE, ALICE, BOB, CAROL]);
}

function randomPath(rng: Prng): Buffer {
  const depth = rng.pick([1, 1, 1, 2, 2, 3, 4]);
  const parts: string[] = [];
  for (let i = 0; i < depth; i++) parts.push(rng.pick(NAMES));
  let path = parts.join(rng.chance(0.03) ? '//' : '/');
  if (rng.chance(0.05)) path += '/';
  if (rng.chance(0.05)) path = '/' + path;
  if (rng.chance(0.005)) path = '';
  if (rng.chance(0.003)) path += '/' + 'x'.repeat(256);
  return Buffer.from(path);
}

/** Mostly something that exists. */
function randomAt(rng: Prng, w: Weights): At {
  if (w.paths.length > 0 && rng.chance(0.7)) return { dir: 1 as Ino, path: Buffer.from(rng.pick(w.paths) + (rng.chance(0.04) ? '/' : '')) };
  if (rng.chance(0.2)) return { dir: rng.between(1, w.maxIno) as Ino, path: rng.chance(0.6) ? Buffer.alloc(0) : randomPath(rng) };
  return { dir: 1 as Ino, path: randomPath(rng) };
}

/** Mostly a name in a directory that exists. */
function randomNew(rng: Prng, w: Weights): At {
  if (!rng.chance(0.75)) return randomAt(rng, w);
  const directory = rng.pick(w.directories);
  const name = rng.pick(NAMES) + (rng.chance(0.04) ? '/' : '');
  return { dir: 1 as Ino, path: Buffer.from(directory === '' ? name : `${directory}/${name}`) };
}

function randomMode(rng: Prng): number {
  return rng.pick([0o644, 0o666, 0o755, 0o777, 0o777, 0o777, 0o700, 0o4755, 0o2775, 0o2777, 0o1777, 0o000, 0o444, 0o2755, 0o6777]);
}

function randomTime(rng: Prng): Timestamp | 'now' {
  return rng.chance(0.5) ? 'now' : { sec: rng.between(-5000, 2_000_000_000), nsec: rng.below(1_000_000_000) };
}

function randomSet(rng: Prng, w: Weights): SetAttributes {
  const set: { -readonly [K in keyof SetAttributes]: SetAttributes[K] } = {};
  if (rng.chance(0.35)) set.mode = randomMode(rng);
  if (rng.chance(0.2)) set.uid = rng.pick([0, 1000, 1001, 1002]);
  if (rng.chance(0.2)) set.gid = rng.pick([0, 100, 101, 200]);
  if (rng.chance(0.3)) set.size = randomOffset(rng, w);
  if (rng.chance(0.2)) set.atime = randomTime(rng);
  if (rng.chance(0.2)) set.mtime = randomTime(rng);
  return set;
}

function randomOffset(rng: Prng, w: Weights): number {
  if (w.bigFiles && rng.chance(0.5)) return rng.below(40) * 65_536 + rng.below(3) * 100;
  return rng.pick([0, 0, 1, 100, 511, 512, 513, 65_535, 65_536, 65_537, 131_072, 200_000]) + rng.below(2);
}

export function randomOperation(rng: Prng, w: Weights): Operation {
  const at = randomAt(rng, w);
  switch (rng.below(w.bigFiles ? 30 : 27)) {
    case 0: case 1: case 2:
      return { type: 'create', at: randomNew(rng, w), mode: randomMode(rng), exclusive: rng.chance(0.4), truncate: rng.chance(0.3) };
    case 3: case 4: case 5:
      return { type: 'mkdir', at: randomNew(rng, w), mode: randomMode(rng) };
    case 6:
      return { type: 'mknod', at: randomNew(rng, w), fileType: rng.pick(TYPES), mode: randomMode(rng), rdev: rng.below(1000) };
    case 7: case 8:
      return { type: 'symlink', at: randomNew(rng, w), target: Buffer.from(rng.pick(TARGETS)) };
    case 9:
      return { type: 'link', from: at, to: randomNew(rng, w), follow: rng.chance(0.5) };
    case 10: case 11:
      return { type: 'unlink', at };
    case 12:
      return { type: 'rmdir', at };
    case 13: case 14: case 15:
      return { type: 'rename', from: at, to: randomNew(rng, w), flags: rng.pick(['none', 'none', 'none', 'noreplace', 'exchange']) };
    case 16: case 17:
      return { type: 'setattr', at, follow: rng.chance(0.8), set: randomSet(rng, w), ...droppedSetId(rng) };
    case 18:
      return { type: 'putFile', at: rng.chance(0.5) ? at : randomNew(rng, w), mode: randomMode(rng), data: rng.bytes(rng.pick([0, 10, 70_000])), ifVersion: rng.pick([null, null, 0, rng.below(200)]) };
    case 19:
      return {
        type: 'setxattr', at, follow: rng.chance(0.5), name: Buffer.from(rng.pick(XATTRS)), value: rng.bytes(rng.pick([0, 5, 300])), mode: rng.pick(['any', 'any', 'create', 'replace']),
      };
    case 20:
      return { type: 'removexattr', at, follow: rng.chance(0.5), name: Buffer.from(rng.pick(XATTRS)) };
    case 21:
      return rng.chance(0.2) ? { type: 'removeTree', at } : { type: 'getattr', at, follow: rng.chance(0.5) };
    case 22:
      return { type: 'readdir', at, after: Buffer.from(rng.pick(['', 'a', 'b', 'bb'])), limit: rng.pick([1, 2, 100, 5000]), attributes: rng.chance(0.5) };
    case 23:
      return { type: 'read', at, offset: randomOffset(rng, w), length: rng.pick([0, 10, 100_000]) };
    case 24:
      return rng.chance(0.5) ? { type: 'readlink', at } : { type: 'access', at, mask: rng.below(9) };
    case 25:
      return rng.chance(0.5) ? { type: 'getxattr', at, follow: rng.chance(0.5), name: Buffer.from(rng.pick(XATTRS)) } : { type: 'listxattr', at, follow: rng.chance(0.5) };
    default:
      return rng.chance(0.9) ? { type: 'write', at, offset: rng.chance(0.15) ? 'end' : randomOffset(rng, w), data: rng.bytes(rng.pick([0, 1, 100, 512, 70_000])), ...droppedSetId(rng) } : { type: 'statfs' };
  }
}

function droppedSetId(rng: Prng): { readonly dropSetId?: true } {
  return rng.chance(0.2) ? { dropSetId: true } : {};
}
