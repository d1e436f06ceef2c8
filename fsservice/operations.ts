/**
 * The operations of the namespace, as values. Each is encoded once, by the client, and executed from those bytes
 * on every replica (codec: operation_codec.ts). They mirror the *at() family of system calls: a file is named by a
 * directory's inode number and a relative path of bytes, resolved inside the state machine with the caller's permissions. An
 * empty path names the inode `dir` itself (as AT_EMPTY_PATH does). Permissions are the caller's, in each operation.
 */
import type { Ino } from '../lib/ids.ts';
import type { ErrnoCode } from './errno.ts';

export interface Credentials {
  readonly uid: number;
  readonly gid: number;
  /** Supplementary groups, at most 64. */
  readonly groups: readonly number[];
}

/** Where a file is. Names are bytes without '/' and NUL, up to 255; a path is up to 4096 bytes; '.' and '..' work. */
export interface At {
  readonly dir: Ino;
  readonly path: Buffer;
}

/** Seconds have 48 bits with their sign, in inodes and in calls. */
export const TIME_MIN = -(2 ** 47);
export const TIME_MAX = 2 ** 47 - 1;

export interface Timestamp {
  /** Seconds since 1970, may be negative: TIME_MIN .. TIME_MAX. */
  readonly sec: number;
  /** 0 .. 999,999,999 */
  readonly nsec: number;
}

export type FileType = 'file' | 'directory' | 'symlink' | 'fifo' | 'socket' | 'block' | 'character';

export interface Attributes {
  readonly ino: Ino;
  readonly type: FileType;
  /** Permission bits with set-uid, set-gid, sticky: 0 .. 0o7777. */
  readonly mode: number;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  readonly rdev: number;
  readonly size: number;
  /** Of 512 bytes. */
  readonly blocks: number;
  readonly atime: Timestamp;
  readonly mtime: Timestamp;
  readonly ctime: Timestamp;
  readonly birthtime: Timestamp;
  /** Grows with every change of the inode; the op-number of the last change. */
  readonly version: number;
}

export interface SetAttributes {
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly size?: number;
  /** 'now' is the operation's predetermined time. */
  readonly atime?: Timestamp | 'now';
  readonly mtime?: Timestamp | 'now';
}

/** Operations that change state and go through the log. */
export type WriteOperation =
  /** A regular file. Not exclusive: an existing file is returned as it is (truncated when asked), as open(O_CREAT) does. */
  | { readonly type: 'create'; readonly at: At; readonly mode: number; readonly exclusive: boolean; readonly truncate: boolean }
  | { readonly type: 'mkdir'; readonly at: At; readonly mode: number }
  | { readonly type: 'mknod'; readonly at: At; readonly fileType: FileType; readonly mode: number; readonly rdev: number }
  | { readonly type: 'symlink'; readonly at: At; readonly target: Buffer }
  | { readonly type: 'link'; readonly from: At; readonly to: At; readonly follow: boolean }
  | { readonly type: 'unlink'; readonly at: At }
  | { readonly type: 'rmdir'; readonly at: At }
  | { readonly type: 'rename'; readonly from: At; readonly to: At; readonly flags: 'none' | 'noreplace' | 'exchange' }
  /**
   * `dropSetId`: on behalf of somebody who may not keep the set-uid and set-gid bits of a regular file (the latter only beside group execute), by whoever
   * has checked the rights before, as the kernel in front of a mount. With an empty `set`, which does nothing else, it is what chown(2) of neither owner nor group
   * does: the bits go that the caller may not keep, set-gid without group execute too where it is not in the group, and ctime moves.
   */
  | { readonly type: 'setattr'; readonly at: At; readonly follow: boolean; readonly set: SetAttributes; readonly dropSetId?: true }
  /** 'end': behind the file's last byte as it is when this is executed, so that appends never overlap. Below 2^53 - 1 otherwise. `dropSetId`: as of setattr. */
  | { readonly type: 'write'; readonly at: At; readonly offset: number | 'end'; readonly data: Buffer; readonly dropSetId?: true }
  /**
   * The whole content of a small file (up to 1 MiB) in one atomic step; created when absent unless `ifVersion` is given. `ifVersion`: fail with EAGAIN unless the inode's
   * version is this - a compare-and-set. 0: EEXIST unless the name is free, which it is not where a symbolic link is, as open(2) with O_EXCL; otherwise links are followed.
   */
  | { readonly type: 'putFile'; readonly at: At; readonly mode: number; readonly data: Buffer; readonly ifVersion: number | null }
  | { readonly type: 'setxattr'; readonly at: At; readonly follow: boolean; readonly name: Buffer; readonly value: Buffer; readonly mode: 'any' | 'create' | 'replace' }
  | { readonly type: 'removexattr'; readonly at: At; readonly follow: boolean; readonly name: Buffer }
  /** Unlinks a whole tree at once; its inodes are freed in bounded house-keeping steps. A directory is removed for root alone (else EPERM); anything else as by `unlink`. */
  | { readonly type: 'removeTree'; readonly at: At }
  /**
   * What a session that holds files open says now and then: having seen op `seenOp`, it holds exactly these inodes open.
   * An unlinked inode is freed when every live session of flag SESSION_HOLDS_OPENS has said so without it since the unlink.
   */
  | { readonly type: 'keepAlive'; readonly seenOp: number; readonly open: readonly Ino[] }
  /** By the primary: one bounded step of freeing. */
  | { readonly type: 'collect' }
  /** For root alone (else EPERM): every replica takes a checkpoint right behind it, unless one is still being written there. Changes nothing else. */
  | { readonly type: 'checkpoint' };

/** Operations that only read. */
export type ReadOperation =
  | { readonly type: 'getattr'; readonly at: At; readonly follow: boolean }
  /** Bytes of a regular file; at most 1 MiB; short at the end of the file. */
  | { readonly type: 'read'; readonly at: At; readonly offset: number; readonly length: number }
  /** A page of a directory behind the name `after` (empty: from the start), in the directory's own stable order; entries that neither came nor went are met exactly once. '.' and '..' are not among them. */
  | { readonly type: 'readdir'; readonly at: At; readonly after: Buffer; readonly limit: number; readonly attributes: boolean }
  | { readonly type: 'readlink'; readonly at: At }
  | { readonly type: 'getxattr'; readonly at: At; readonly follow: boolean; readonly name: Buffer }
  | { readonly type: 'listxattr'; readonly at: At; readonly follow: boolean }
  /** mask: 4 read, 2 write, 1 execute/search, 0 existence. */
  | { readonly type: 'access'; readonly at: At; readonly mask: number }
  | { readonly type: 'statfs' };

export type Operation = WriteOperation | ReadOperation;
export type OperationType = Operation['type'];

export interface DirectoryEntry {
  readonly name: Buffer;
  readonly ino: Ino;
  readonly type: FileType;
  /** When asked for. */
  readonly attributes?: Attributes;
}

export interface FileSystemStatistics {
  readonly inodes: number;
  readonly maxInodes: number;
  readonly bytes: number;
  readonly maxBytes: number;
  readonly blockSize: number;
  readonly orphans: number;
}

/** What each operation gives when it succeeds. Where a file was made or changed: its attributes afterwards. */
export interface Results {
  create: { readonly attributes: Attributes; readonly created: boolean };
  mkdir: { readonly attributes: Attributes };
  mknod: { readonly attributes: Attributes };
  symlink: { readonly attributes: Attributes };
  link: { readonly attributes: Attributes };
  unlink: { readonly ino: Ino; readonly nlink: number };
  rmdir: { readonly ino: Ino };
  rename: Record<string, never>;
  setattr: { readonly attributes: Attributes };
  write: { readonly attributes: Attributes };
  putFile: { readonly attributes: Attributes; readonly created: boolean };
  setxattr: Record<string, never>;
  removexattr: Record<string, never>;
  removeTree: { readonly ino: Ino };
  keepAlive: { readonly orphans: number };
  collect: { readonly freed: number };
  /** The op-number of the checkpoint. */
  checkpoint: { readonly op: number };
  getattr: { readonly attributes: Attributes };
  read: { readonly data: Buffer; readonly size: number };
  readdir: { readonly entries: readonly DirectoryEntry[]; readonly end: boolean; readonly ino: Ino; readonly parent: Ino };
  readlink: { readonly target: Buffer };
  getxattr: { readonly value: Buffer };
  listxattr: { readonly names: readonly Buffer[] };
  access: Record<string, never>;
  statfs: FileSystemStatistics;
}

export type Result<T extends OperationType> =
  | { readonly ok: true; readonly value: Results[T] }
  | { readonly ok: false; readonly errno: ErrnoCode };

/** What is encoded: the operation and on whose behalf. */
export interface Call<O extends Operation = Operation> {
  readonly credentials: Credentials;
  readonly operation: O;
}

export const ROOT_INO = 1 as Ino;
export const NAME_MAX = 255;
export const PATH_MAX = 4096;
export const LINK_MAX = 65_000;
export const BLOCK_SIZE = 64 << 10;
export const SYMLINK_DEPTH_MAX = 40;
export const XATTR_NAME_MAX = 255;
export const XATTR_SIZE_MAX = 64 << 10;
export const READ_MAX = 1 << 20;
