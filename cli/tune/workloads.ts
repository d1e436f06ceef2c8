/** What the load of `vrfs tune` does, operation by operation. Each is a pure function of its number, and none is ever refused. */
import { encodeCall } from '../../fsservice/operation_codec.ts';
import { ROOT_INO, type At, type Operation, type WriteOperation } from '../../fsservice/operations.ts';
import type { Workload } from './load.ts';

export const LOADS = ['creates', 'mixed', 'data'] as const;
export type LoadName = (typeof LOADS)[number];

export const CREDENTIALS = Object.freeze({ uid: 0, gid: 0, groups: Object.freeze([]) });

/** Directories that new files are spread over, and files of each before the next one's turn. */
export const DIRECTORIES = 100;
const FILES_PER_DIRECTORY = 1000;
/** Files that there are before the load begins, and that it reads and changes. */
export const OLD_FILES = 1000;
/** A file is unlinked so many operations after it was made: by then that has long been answered, whatever is in flight (at most MAX_IN_FLIGHT). */
const UNLINK_AFTER = 40_000;
export const MAX_IN_FLIGHT = 1000;

const DATA_FILES = 64;
const DATA_BLOCK = 16 << 10;
const DATA_BLOCKS = 64;

function at(path: string): At {
  return { dir: ROOT_INO, path: Buffer.from(path) };
}
function write(operation: WriteOperation): ReturnType<Workload['next']> {
  return { write: true, body: encodeCall({ credentials: CREDENTIALS, operation }) };
}
function read(operation: Operation): ReturnType<Workload['next']> {
  return { write: false, body: encodeCall({ credentials: CREDENTIALS, operation }) };
}

function newFile(n: number): At {
  return at(`d${Math.floor(n / FILES_PER_DIRECTORY) % DIRECTORIES}/file-${String(n).padStart(9, '0')}`);
}
function oldFile(n: number): At {
  // A prime, so that neighbours in time are no neighbours in the tree.
  return at(`old/f${(n * 7919) % OLD_FILES}`);
}

const create = (n: number): ReturnType<Workload['next']> => write({ type: 'create', at: newFile(n), mode: 0o644, exclusive: true, truncate: false });

const ROUND = 20;
const KIB = Buffer.alloc(1024, 'vrfs ');

/** Of 20 operations: 10 stat, 4 create, 3 write 1 KiB, 1 chmod, 1 set an attribute, 1 unlinks a file that was made long ago. */
function mixed(n: number): ReturnType<Workload['next']> {
  const k = n % ROUND;
  if (k < 10) return read({ type: 'getattr', at: oldFile(n), follow: true });
  if (k < 14) return create(n);
  if (k < 17) return write({ type: 'write', at: oldFile(n), offset: 0, data: KIB });
  if (k === 17) return write({ type: 'setattr', at: oldFile(n), follow: true, set: { mode: n % (2 * ROUND) < ROUND ? 0o600 : 0o644 } });
  if (k === 18) return write({ type: 'setxattr', at: oldFile(n), follow: true, name: Buffer.from('user.state'), value: Buffer.from(String(n)), mode: 'any' });
  // The file that operation n - UNLINK_AFTER - 9 has made: 19 - 9 is a create.
  return n < UNLINK_AFTER ? read({ type: 'getattr', at: oldFile(n), follow: true }) : write({ type: 'unlink', at: newFile(n - UNLINK_AFTER - 9) });
}

const BLOCK = Buffer.alloc(DATA_BLOCK, 'vrfs tune ');

/** 16 KiB writes, round and round over 64 files of 1 MiB. */
function data(n: number): ReturnType<Workload['next']> {
  const file = n % DATA_FILES;
  return write({ type: 'write', at: at(`data/f${file}`), offset: (Math.floor(n / DATA_FILES) % DATA_BLOCKS) * DATA_BLOCK, data: BLOCK });
}

export function workload(name: LoadName): Workload {
  switch (name) {
    case 'creates': return { next: create };
    case 'mixed': return { next: mixed };
    case 'data': return { next: data };
  }
}

/** Makes the files that are there before the load begins: the first `n` of those that it would make. */
export const FILLING: Workload = Object.freeze({ next: create });

/** What has to be there before anything else, in steps of which each needs the one before. */
export function preparation(name: LoadName): readonly (readonly WriteOperation[])[] {
  const mkdir = (path: string): WriteOperation => ({ type: 'mkdir', at: at(path), mode: 0o755 });
  const make = (path: string): WriteOperation => ({ type: 'create', at: at(path), mode: 0o644, exclusive: true, truncate: false });
  const many = (count: number, f: (i: number) => WriteOperation): WriteOperation[] => Array.from({ length: count }, (_, i) => f(i));
  const directories = many(DIRECTORIES, (i) => mkdir(`d${i}`));
  switch (name) {
    case 'creates': return [directories];
    case 'mixed': return [[...directories, mkdir('old')], many(OLD_FILES, (i) => make(`old/f${i}`))];
    case 'data': return [[...directories, mkdir('data')], many(DATA_FILES, (i) => make(`data/f${i}`))];
  }
}

/**
 * So many files or a few more: what mixed does goes by twenties, and it unlinks files that those made which were there before.
 * The load goes on with this number.
 */
export function wholeRounds(files: number): number {
  return Math.ceil(files / ROUND) * ROUND;
}
