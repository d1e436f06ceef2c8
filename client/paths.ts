/** Paths as a user gives them, as the bytes that an operation has. Paths start at the root of the namespace, with or without a '/'. */
import { isUtf8 } from 'node:buffer';
import { WrongArgument } from './errors.ts';

/** Strings are UTF-8. A name that is not UTF-8 has to be given as a Buffer. */
export type PathLike = string | Buffer;

const SLASH = 0x2f;
const DOT = Buffer.from('.');

/** @throws WrongArgument when the path is empty or has a NUL: no file can have that name */
export function pathBytes(path: PathLike): Buffer {
  const bytes = typeof path === 'string' ? Buffer.from(path, 'utf8') : path;
  if (bytes.length === 0) throw new WrongArgument("an empty path names nothing; the root directory is '/'");
  if (bytes.includes(0)) throw new WrongArgument('a path has no NUL byte');
  return bytes;
}

export function joinPath(directory: Buffer, name: Buffer): Buffer {
  return directory[directory.length - 1] === SLASH ? Buffer.concat([directory, name]) : Buffer.concat([directory, Buffer.from('/'), name]);
}

/** Without trailing slashes, except for the root itself. */
export function trimmedPath(path: Buffer): Buffer {
  let end = path.length;
  while (end > 1 && path[end - 1] === SLASH) end--;
  return path.subarray(0, end);
}

/** The directory that holds the last component: '/' or '.' when there is none before it. */
export function parentPath(path: Buffer): Buffer {
  const p = trimmedPath(path);
  const slash = p.lastIndexOf(SLASH);
  if (slash < 0) return DOT;
  return slash === 0 ? p.subarray(0, 1) : trimmedPath(p.subarray(0, slash));
}

/** The last component; of the root '/'. */
export function baseName(path: Buffer): Buffer {
  const p = trimmedPath(path);
  return p.length === 1 ? p : p.subarray(p.lastIndexOf(SLASH) + 1);
}

export function isRootPath(path: Buffer): boolean {
  const p = trimmedPath(path);
  return p.length === 1 && (p[0] === SLASH || p[0] === DOT[0]);
}

/** For messages and tables: UTF-8, and what is not, or would disturb a terminal, as \xNN. */
export function printable(bytes: Buffer): string {
  let out = '';
  const text = isUtf8(bytes) ? bytes.toString('utf8') : bytes.toString('latin1');
  const control = isUtf8(bytes) ? /[\u0000-\u001f\u007f-\u009f]/ : /[^\u0020-\u007e]/;
  for (const c of text) out += control.test(c) ? Buffer.from(c, isUtf8(bytes) ? 'utf8' : 'latin1').reduce((s, b) => `${s}\\x${b.toString(16).padStart(2, '0')}`, '') : c;
  return out;
}
