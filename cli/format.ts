/** How attributes look to people (as ls and stat show them) and to programs. */
import { isUtf8 } from 'node:buffer';
import type { Stats } from '../client/stats.ts';
import { printable } from '../client/paths.ts';
import type { FileType, Timestamp } from '../fsservice/operations.ts';

const TYPE_LETTERS: Readonly<Record<FileType, string>> = { file: '-', directory: 'd', symlink: 'l', fifo: 'p', socket: 's', block: 'b', character: 'c' };

/** drwxr-xr-t */
export function modeText(type: FileType, mode: number): string {
  const bits = (shift: number, special: boolean, letter: string): string => {
    const three = (mode >> shift) & 7;
    const x = (three & 1) !== 0;
    return `${three & 4 ? 'r' : '-'}${three & 2 ? 'w' : '-'}${special ? (x ? letter : letter.toUpperCase()) : x ? 'x' : '-'}`;
  };
  return TYPE_LETTERS[type] + bits(6, (mode & 0o4000) !== 0, 's') + bits(3, (mode & 0o2000) !== 0, 's') + bits(0, (mode & 0o1000) !== 0, 't');
}

/** 0644 */
export function octal(mode: number): string {
  return (mode & 0o7777).toString(8).padStart(4, '0');
}

/** RFC 3339 with nanoseconds; `@<seconds since 1970>` for a time that a Date cannot show, some 270,000 years away. */
export function timeText(t: Timestamp): string {
  const text = isoText(t);
  return text === null ? `@${t.sec}` : `${text.slice(0, -'.000Z'.length)}.${String(t.nsec).padStart(9, '0')}Z`;
}

/** From the end, since a year may have six digits and a sign. Null: a Date cannot show it. */
function isoText(t: Timestamp): string | null {
  const date = new Date(t.sec * 1000);
  return Number.isNaN(date.getTime()) ? null : date.toISOString();
}

/** 2026-01-31 12:00 */
export function shortTime(t: Timestamp): string {
  const text = isoText(t);
  return text === null ? `@${t.sec}` : text.slice(0, -':00.000Z'.length).replace('T', ' ');
}

/** 2026-01-31T12:00:00Z, of milliseconds since 1970. */
export function momentText(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`;
}

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
export function sizeText(bytes: number): string {
  let n = bytes;
  let unit = 0;
  while (n >= 1024 && unit < UNITS.length - 1) {
    n /= 1024;
    unit++;
  }
  return unit === 0 ? `${bytes} B` : `${n.toFixed(1)} ${UNITS[unit] ?? ''}`;
}

/** In the largest unit of which there are two at least: 90 s, 47 h, 12 d. */
export function durationText(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 2 * 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 2 * 86_400) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

/** A name for programs: text where it is UTF-8, else `{ base64 }`, as in the HTTP API. */
export function jsonName(name: Buffer): string | { readonly base64: string } {
  return isUtf8(name) ? name.toString('utf8') : { base64: name.toString('base64') };
}

export function jsonStats(s: Stats): Record<string, unknown> {
  const a = s.attributes;
  return {
    ino: a.ino, type: a.type, mode: octal(a.mode), nlink: a.nlink, uid: a.uid, gid: a.gid, rdev: a.rdev, size: a.size, blocks: a.blocks,
    atime: timeText(a.atime), mtime: timeText(a.mtime), ctime: timeText(a.ctime), birthtime: timeText(a.birthtime), version: a.version,
  };
}

/** One line of `ls -l`; `widths`: of links, owner, group and size. */
export function longLine(s: Stats, name: Buffer, target: Buffer | null): string {
  const a = s.attributes;
  const arrow = target === null ? '' : ` -> ${printable(target)}`;
  return `${modeText(a.type, a.mode)} ${String(a.nlink).padStart(3)} ${String(a.uid).padStart(5)} ${String(a.gid).padStart(5)} ${String(a.size).padStart(11)} ${shortTime(a.mtime)} ${printable(name)}${arrow}`;
}

/** Columns as wide as their widest cell; the first row is the heading. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows) row.forEach((cell, i) => { widths[i] = Math.max(widths[i] ?? 0, cell.length); });
  return rows.map((row) => row.map((cell, i) => (i === row.length - 1 ? cell : cell.padEnd(widths[i] ?? 0))).join('  ').trimEnd()).join('\n');
}
