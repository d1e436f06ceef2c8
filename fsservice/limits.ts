/**
 * Bounds of the namespace. They are part of the deterministic state machine: every replica of a group has to
 * run with the same ones, or their states differ at the first operation that meets one.
 */
import { BLOCK_SIZE, PATH_MAX } from './operations.ts';

export interface Limits {
  readonly maxInodes: number;
  /** Of file contents, in bytes as stored (units of 512). */
  readonly maxBytes: number;
  /** Largest offset of a file's end; at most MAX_FILE_SIZE. */
  readonly maxFileSize: number;
}

/** Block numbers have 32 bits. */
export const MAX_FILE_SIZE = 2 ** 32 * BLOCK_SIZE;

export const DEFAULT_LIMITS: Limits = Object.freeze({
  maxInodes: 2 ** 32,
  maxBytes: 2 ** 46,
  maxFileSize: 2 ** 44,
});

/**
 * Directories above a directory that an operation looks at: as many as one path can name. A tree may be deeper, as Linux has it (each step by a name from a directory that is
 * open); nothing moves a directory to a place below them, and all else goes there too.
 */
export const LEVELS_MAX = PATH_MAX / 2;

/** Entries of a directory that one readdir gives at most. */
export const READDIR_MAX = 1024;
/** Supplementary groups of a caller: what the byte that counts them in a call can say. (Linux itself has 65,536 for its bound; programs have a few dozen.) */
export const GROUPS_MAX = 255;
/** Inodes that one keepAlive may name. */
export const KEEP_ALIVE_OPEN_MAX = 65_536;
/** Names and values of an inode's extended attributes together: what one listxattr has to walk. */
export const XATTR_TOTAL_MAX = 256 << 10;
/** Blocks that an operation removes itself; more are left to collect. */
export const INLINE_FREE_BLOCKS = 16;
/** Records that one collect removes at most, apart from what accompanies each. */
export const COLLECT_RECORDS = 64;
/** Blocks among them: a range reads their values, up to 64 KiB each. */
export const COLLECT_BLOCKS = 32;
/** Truncations of one file whose blocks are not yet freed. */
export const PENDING_TRUNCATIONS_MAX = 64;
/** What an entry adds to its directory's st_size. */
export const DIRECTORY_ENTRY_SIZE = 32;
