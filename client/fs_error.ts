/** A refusal of the file system as an exception, in the shape of Node's own. */
import { Errno, type ErrnoCode, type ErrnoName } from '../fsservice/errno.ts';
import { printable } from './paths.ts';

/** The texts of strerror(3), without capitals, as Node prints them. */
const TEXTS: Readonly<Record<ErrnoName, string>> = {
  EPERM: 'operation not permitted', ENOENT: 'no such file or directory', EIO: 'i/o error', ENXIO: 'no such device or address',
  E2BIG: 'argument list too long', EBADF: 'bad file descriptor', EAGAIN: 'resource temporarily unavailable', ENOMEM: 'not enough memory',
  EACCES: 'permission denied', EBUSY: 'resource busy or locked', EEXIST: 'file already exists', EXDEV: 'cross-device link not permitted',
  ENODEV: 'no such device', ENOTDIR: 'not a directory', EISDIR: 'illegal operation on a directory', EINVAL: 'invalid argument',
  EFBIG: 'file too large', ENOSPC: 'no space left on device', EROFS: 'read-only file system', EMLINK: 'too many links',
  ERANGE: 'result too large', ENAMETOOLONG: 'name too long', ENOSYS: 'function not implemented', ENOTEMPTY: 'directory not empty',
  ELOOP: 'too many symbolic links encountered', ENODATA: 'no data available', EPROTO: 'protocol error', EOVERFLOW: 'value too large for defined data type',
  EOPNOTSUPP: 'operation not supported', ESTALE: 'stale file handle', EDQUOT: 'disk quota exceeded', ETIMEDOUT: 'connection timed out',
};

const NAMES: ReadonlyMap<number, ErrnoName> = new Map((Object.keys(Errno) as ErrnoName[]).map((name) => [Errno[name], name]));

export function errnoName(code: ErrnoCode): ErrnoName {
  return NAMES.get(code) ?? 'EIO';
}

/** 'no such file or directory' */
export function errnoText(name: ErrnoName): string {
  return TEXTS[name];
}

export class FsError extends Error {
  override readonly name = 'FsError';
  /** 'ENOENT' */
  readonly code: ErrnoName;
  /** Negative, as in Node: -2. */
  readonly errno: number;
  /** The operation: 'mkdir'. */
  readonly syscall: string;
  readonly path: string | undefined;
  /** Of the operations that have two. */
  readonly dest: string | undefined;

  constructor(errno: ErrnoCode, syscall: string, path?: Buffer, dest?: Buffer) {
    const code = errnoName(errno);
    const where = path === undefined ? '' : ` '${printable(path)}'`;
    const to = dest === undefined ? '' : ` -> '${printable(dest)}'`;
    super(`${code}: ${errnoText(code)}, ${syscall}${where}${to}`);
    this.code = code;
    this.errno = -errno;
    this.syscall = syscall;
    this.path = path === undefined ? undefined : printable(path);
    this.dest = dest === undefined ? undefined : printable(dest);
  }
}

export function isFsError(error: unknown, ...codes: readonly ErrnoName[]): error is FsError {
  return error instanceof FsError && (codes.length === 0 || codes.includes(error.code));
}
