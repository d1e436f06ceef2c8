/**
 * Errors as RFC 9457 problem details: each says what was wrong (`detail`) and what to do about it (`remedy`).
 * Those that come from the file system carry the errno too; ERRNO_PROBLEMS is the one table from errno to HTTP status.
 */
import { assert } from '../../lib/assert.ts';
import { Errno, type ErrnoCode, type ErrnoName } from '../../fsservice/errno.ts';

export const PROBLEM_TYPE = 'application/problem+json; charset=utf-8';

/** The body of every answer of status 400 and above. */
export interface ProblemDetails {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly remedy: string;
  /** The errno's name and Linux number, when the file system refused the operation. */
  readonly errno?: ErrnoName;
  readonly code?: ErrnoCode;
}

export class ProblemError extends Error {
  override readonly name = 'ProblemError';
  readonly problem: ProblemDetails;
  readonly headers: Readonly<Record<string, string>>;

  constructor(problem: ProblemDetails, headers: Readonly<Record<string, string>> = {}) {
    super(problem.detail);
    this.problem = problem;
    this.headers = headers;
  }
}

/** A problem of the request or the service rather than of the file system. `kind` is the last part of its type URN. */
export function problem(status: number, kind: string, title: string, detail: string, remedy: string, headers: Readonly<Record<string, string>> = {}): ProblemError {
  return new ProblemError({ type: `urn:vrfs:problem:${kind}`, title, status, detail, remedy }, headers);
}

export function badRequest(detail: string, remedy: string): ProblemError {
  return problem(400, 'bad-request', 'Bad request', detail, remedy);
}

interface ErrnoProblem {
  readonly status: number;
  readonly title: string;
  readonly remedy: string;
}

export const ERRNO_PROBLEMS: Readonly<Record<ErrnoName, ErrnoProblem>> = {
  EPERM: { status: 403, title: 'Operation not permitted', remedy: 'Act as the owner or as root: see the headers X-Vrfs-Uid and X-Vrfs-Gid.' },
  ENOENT: { status: 404, title: 'No such file or directory', remedy: 'Check the path; missing parent directories are made with ?parents=true.' },
  EIO: { status: 500, title: 'Input/output error', remedy: 'Look at the log of the replica and at /v1/status.' },
  ENXIO: { status: 409, title: 'No such device or address', remedy: 'Only regular files have content; look at the type in /v1/stat.' },
  E2BIG: { status: 413, title: 'Argument list too long', remedy: 'Give a smaller value: an extended attribute has at most 65536 bytes.' },
  EBADF: { status: 400, title: 'Bad file descriptor', remedy: 'Name the file by its path again.' },
  EAGAIN: { status: 412, title: 'The file has changed', remedy: 'Read the file again, and repeat the change with its new ETag in If-Match.' },
  ENOMEM: { status: 503, title: 'Out of memory', remedy: 'Try again later, or with a smaller request.' },
  EACCES: { status: 403, title: 'Permission denied', remedy: 'Check mode and owner of the file and of every directory above it, and the headers X-Vrfs-Uid, X-Vrfs-Gid and X-Vrfs-Groups.' },
  EBUSY: { status: 409, title: 'Device or resource busy', remedy: 'The root directory can be neither removed nor renamed; name something below it.' },
  EEXIST: { status: 409, title: 'File exists', remedy: 'Choose another name, or remove the existing file first.' },
  EXDEV: { status: 409, title: 'Invalid cross-device link', remedy: 'Copy the file instead, then remove the original.' },
  ENODEV: { status: 409, title: 'No such device', remedy: 'Look at the type of the file in /v1/stat.' },
  ENOTDIR: { status: 409, title: 'Not a directory', remedy: 'A part of the path that is used as a directory is none: look at it with /v1/stat.' },
  EISDIR: { status: 409, title: 'Is a directory', remedy: 'Name a file; a directory is listed with GET and removed with DELETE.' },
  EINVAL: { status: 400, title: 'Invalid argument', remedy: 'Check the arguments; a directory cannot be moved below itself, and "." and ".." cannot be made, removed or renamed.' },
  EFBIG: { status: 413, title: 'File too large', remedy: 'Keep the file below the size limit of the file system.' },
  ENOSPC: { status: 507, title: 'No space left', remedy: 'Remove files, or raise the limits that /v1/statfs shows.' },
  EROFS: { status: 403, title: 'Read-only file system', remedy: 'Send the change to a group that accepts writes.' },
  EMLINK: { status: 409, title: 'Too many links', remedy: 'A file has at most 65000 links: remove one, or copy the file.' },
  ERANGE: { status: 400, title: 'Result out of range', remedy: 'Ask for a value within the limits.' },
  ENAMETOOLONG: { status: 400, title: 'File name too long', remedy: 'A name has at most 255 bytes, a path at most 4096.' },
  ENOSYS: { status: 501, title: 'Not implemented', remedy: 'Use another operation; /openapi.json lists them.' },
  ENOTEMPTY: { status: 409, title: 'Directory not empty', remedy: 'Remove what is in it first, or the whole tree with DELETE ?recursive=true.' },
  ELOOP: { status: 409, title: 'Too many symbolic links', remedy: 'Look at the links with /v1/readlink: they lead in a circle, or through more than 40 of them.' },
  ENODATA: { status: 404, title: 'No such extended attribute', remedy: 'List the names with GET /v1/xattr/{path}.' },
  EPROTO: { status: 500, title: 'Protocol error', remedy: 'Check that client and replicas run the same version.' },
  EOVERFLOW: { status: 400, title: 'Value too large', remedy: 'Give a smaller number.' },
  EOPNOTSUPP: { status: 422, title: 'Operation not supported', remedy: 'This kind of file or attribute does not allow it; extended attributes begin with "user.", "trusted." or "security.".' },
  ESTALE: { status: 410, title: 'Stale file', remedy: 'The file was removed meanwhile: name it by its path again.' },
  EDQUOT: { status: 507, title: 'Quota exceeded', remedy: 'Remove files, or ask for a larger quota.' },
  ETIMEDOUT: { status: 504, title: 'Timed out', remedy: 'Look at /v1/health, and try again.' },
};

const NAMES: ReadonlyMap<number, ErrnoName> = new Map((Object.keys(Errno) as ErrnoName[]).map((name) => [Errno[name], name]));

export function errnoName(code: ErrnoCode): ErrnoName {
  const name = NAMES.get(code);
  assert(name !== undefined, () => `unknown errno ${code}`);
  return name;
}

/**
 * The file system's refusal. `what` says what was attempted, such as 'mkdir /a/b'. `status` overrides the table's where
 * HTTP has a better word for it in this place (a precondition).
 */
export function errnoProblem(code: ErrnoCode, what: string, status?: number): ProblemError {
  const name = errnoName(code);
  const entry = ERRNO_PROBLEMS[name];
  return new ProblemError({
    type: `urn:vrfs:problem:${name}`,
    title: entry.title,
    status: status ?? entry.status,
    detail: `${what}: ${entry.title} (${name}).`,
    remedy: entry.remedy,
    errno: name,
    code,
  });
}
