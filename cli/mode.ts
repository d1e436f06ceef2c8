/** The modes that chmod(1) understands: octal, or clauses such as u+rwx,go-w,a=rX. */
import { UsageError } from './failure.ts';

const CLAUSE = /^([ugoa]*)([-+=][rwxXst]*)+$/;
const ACTION = /[-+=][rwxXst]*/g;
const SHIFTS: Readonly<Record<string, number>> = { u: 6, g: 3, o: 0 };

/** What `mode` (0 .. 0o7777) becomes. A clause that names nobody (+w) is for all, without the bits of `umask`, as POSIX has it. @throws UsageError */
export function changeMode(text: string, mode: number, isDirectory: boolean, umask = process.umask()): number {
  if (/^[0-7]{1,4}$/.test(text)) return Number.parseInt(text, 8);
  let out = mode;
  for (const clause of text.split(',')) {
    const match = CLAUSE.exec(clause);
    if (match === null) throw new UsageError(`'${text}' is not a mode: give octal digits (644) or clauses (u+rwx,go-w)`);
    const named = match[1] ?? '';
    const who = named === '' || named.includes('a') ? 'ugo' : named;
    const allowed = named === '' ? ~umask : ~0;
    for (const action of clause.slice(named.length).match(ACTION) ?? []) out = apply(out, who, action, allowed, isDirectory);
  }
  return out;
}

function apply(mode: number, who: string, action: string, allowed: number, isDirectory: boolean): number {
  let set = 0;
  let mask = 0;
  for (const w of who) {
    const shift = SHIFTS[w] ?? 0;
    mask |= 7 << shift | special(w);
    for (const letter of action.slice(1)) set |= bitsOf(letter, w, shift, mode, isDirectory);
  }
  set &= allowed;
  if (action.startsWith('+')) return mode | set;
  if (action.startsWith('-')) return mode & ~set;
  return (mode & ~mask) | set;
}

function special(who: string): number {
  return who === 'u' ? 0o4000 : who === 'g' ? 0o2000 : 0o1000;
}

function bitsOf(letter: string, who: string, shift: number, mode: number, isDirectory: boolean): number {
  switch (letter) {
    case 'r': return 4 << shift;
    case 'w': return 2 << shift;
    case 'x': return 1 << shift;
    // Execute where it makes sense: a directory, or somebody may execute it already.
    case 'X': return isDirectory || (mode & 0o111) !== 0 ? 1 << shift : 0;
    case 's': return who === 'o' ? 0 : special(who);
    default: return 0o1000;
  }
}
