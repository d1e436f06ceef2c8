/**
 * Names and paths are bytes; URLs and JSON are text. In a URL every byte can be percent-encoded, in JSON a name that is
 * not UTF-8 is `{"base64": "..."}`. Both directions are exact, so any name survives the way there and back.
 */
import { isUtf8 } from 'node:buffer';
import { EMPTY } from '../../lib/bytes.ts';
import { PATH_MAX } from '../../fsservice/operations.ts';
import { badRequest, errnoProblem } from './problem.ts';
import { Errno } from '../../fsservice/errno.ts';

/** A name in JSON. */
export type JsonBytes = string | { readonly base64: string };

const PERCENT = 0x25;
const SLASH = 0x2f;
const BROKEN_ESCAPE = /%(?![0-9A-Fa-f]{2})/;

function hexDigit(c: number): number {
  if (c >= 0x30 && c <= 0x39) return c - 0x30;
  if (c >= 0x41 && c <= 0x46) return c - 0x37;
  if (c >= 0x61 && c <= 0x66) return c - 0x57;
  return -1;
}

/**
 * The bytes of a percent-encoded piece of a URL; characters that are not escaped stand for themselves. Throws a problem on a broken escape.
 */
export function percentDecode(text: string): Buffer {
  const raw = Buffer.from(text, 'latin1');
  let at = raw.indexOf(PERCENT);
  if (at < 0) return raw;
  let length = at;
  for (; at < raw.length; at++) {
    let byte = raw[at] as number;
    if (byte === PERCENT) {
      const high = hexDigit(raw[at + 1] ?? 0);
      const low = hexDigit(raw[at + 2] ?? 0);
      if (high < 0 || low < 0) {
        throw badRequest(
          `'${text.slice(at, at + 3)}' at character ${at} of '${text.slice(0, 80)}' is not a percent-escape.`,
          "Write each byte that is not a letter, a digit or one of -._~ as % and two hexadecimal digits; a literal '%' is %25.",
        );
      }
      byte = (high << 4) | low;
      at += 2;
    }
    raw[length++] = byte;
  }
  return raw.subarray(0, length);
}

/** A path as the file system takes it: relative to the root directory, without leading slashes; empty is the root itself. */
export function checkPath(path: Buffer): Buffer {
  let start = 0;
  while (path[start] === SLASH) start++;
  if (path.length - start > PATH_MAX) throw errnoProblem(Errno.ENAMETOOLONG, `a path of ${path.length - start} bytes`);
  if (path.includes(0)) throw badRequest('The path contains a NUL byte.', 'Names have any bytes but NUL and "/".');
  return start === 0 ? path : start === path.length ? EMPTY : path.subarray(start);
}

/** Encodes bytes for a URL's path; slashes stay. */
export function percentEncodePath(path: Buffer): string {
  let out = '';
  for (const byte of path) {
    const c = String.fromCharCode(byte);
    out += byte < 0x80 && /[A-Za-z0-9._~/-]/.test(c) ? c : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }
  return out;
}

export function toJsonBytes(bytes: Buffer): JsonBytes {
  return isUtf8(bytes) ? bytes.toString('utf8') : { base64: bytes.toString('base64') };
}

/** `where` names the field in the message of the problem. The shape was checked by the route's schema. */
export function fromJsonBytes(value: JsonBytes, where: string): Buffer {
  if (typeof value === 'string') {
    const text = Buffer.from(value, 'utf8');
    // Half of a surrogate pair has no UTF-8: it would become U+FFFD, another name.
    if (text.toString('utf8') !== value) throw badRequest(`${where} is no text that can be written as UTF-8.`, 'Send the bytes of the name as {"base64": "..."}.');
    return text;
  }
  const bytes = Buffer.from(value.base64, 'base64');
  if (bytes.toString('base64').replace(/=+$/, '') !== value.base64.replace(/=+$/, '')) {
    throw badRequest(`${where}.base64 is not base64.`, 'Use the standard alphabet (A-Z a-z 0-9 + /) of RFC 4648.');
  }
  return bytes;
}

/** For messages: readable, never a control character. */
export function printable(path: Buffer): string {
  return `/${isUtf8(path) ? JSON.stringify(path.toString('utf8')).slice(1, -1) : percentEncodePath(path)}`;
}

/**
 * A URL's query as a record. The values are the decoded bytes as latin1 text (so `Buffer.from(value, 'latin1')` gives
 * the bytes of a name); a key without '=' is 'true'. What is wrong becomes something that every schema refuses, since the router
 * calls this where nothing can be answered yet: a key given twice an array, a part with a broken escape a key of its own.
 */
export function parseQuery(query: string): Record<string, unknown> {
  const out = Object.create(null) as Record<string, unknown>;
  if (query === '') return out;
  for (const part of query.split('&')) {
    if (part === '') continue;
    if (BROKEN_ESCAPE.test(part)) {
      out[part] = 'true';
      continue;
    }
    const equals = part.indexOf('=');
    const key = equals < 0 ? part : part.slice(0, equals);
    const value = equals < 0 ? 'true' : percentDecode(part.slice(equals + 1).replaceAll('+', '%20')).toString('latin1');
    const name = key.includes('%') ? percentDecode(key).toString('latin1') : key;
    out[name] = name in out ? [out[name], value].flat() : value;
  }
  return out;
}
