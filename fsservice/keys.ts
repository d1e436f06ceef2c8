/**
 * Every key of the application's records, built and parsed here and nowhere else. Integers are big-endian, so keys
 * sort as (inode, kind, rest); what belongs to one inode lies together.
 *
 *   ino 48 | 01                     → inode (inode.ts)
 *   ino 48 | 02 | name              → directory entry: ino 48, type 8 (records.ts)
 *   ino 48 | 03 | name              → value of an extended attribute
 *   ino 48 | 04                     → target of a symbolic link
 *   ino 48 | 05 | index 32          → one block of a file (block_store.ts)
 *
 *   0 | 40                          → counters (counters.ts)
 *   0 | 41 | op 48 | ino 48         → orphan, unlinked at that op, not yet released by every session
 *   0 | 42 | session 48             → op 48: a live session that holds opens, and the op up to which it has spoken
 *   0 | 43 | op 48 | session 48     → (empty) the same, ordered by that op: the first is the minimum
 *   0 | 44 | session 48 | ino 48    → (empty) the session said that it holds this orphan open
 *   0 | 45 | ino 48                 → count 32: how many sessions said so
 *   0 | 46 | session 48             → (empty) an ended session whose holds are still to be dropped
 *   0 | 47 | ino 48                 → cursor 32: contents to be freed in steps, from this block on
 *   0 | 48 | ino 48                 → (empty) a directory that was cut off, whose entries are to be removed in steps
 */
import { assert } from '../lib/assert.ts';
import { getU32, getU48, putU32, putU48 } from '../lib/bytes.ts';
import { ino as asIno, sessionId, type Ino, type SessionId } from '../lib/ids.ts';
import { SystemKind } from '../lib/system_keys.ts';

const KIND_INODE = 0x01;
const KIND_ENTRY = 0x02;
const KIND_XATTR = 0x03;
const KIND_TARGET = 0x04;
const KIND_BLOCK = 0x05;

const APPLICATION = SystemKind.application;
const KIND_COUNTERS = APPLICATION;
const KIND_ORPHAN = APPLICATION + 1;
const KIND_HOLDER = APPLICATION + 2;
const KIND_CONFIRMED = APPLICATION + 3;
const KIND_HOLD = APPLICATION + 4;
const KIND_HELD = APPLICATION + 5;
const KIND_ENDED = APPLICATION + 6;
const KIND_FREEING = APPLICATION + 7;
const KIND_DETACHED = APPLICATION + 8;

/** For keys as strings, one at a time; more than the longest, which has a name of NAME_MAX bytes. */
const SCRATCH: Buffer = Buffer.alloc(512);

/** Bytes in front of the rest: inode number and kind. */
const HEAD = 7;
function head(ino: number, kind: number, rest: number): Buffer {
  const key = Buffer.allocUnsafe(HEAD + rest);
  putU48(key, ino, 0);
  key[6] = kind;
  return key;
}

function named(ino: number, kind: number, name: Buffer): Buffer {
  const key = head(ino, kind, name.length);
  key.set(name, HEAD);
  return key;
}

function system1(kind: number, a: number): Buffer {
  const key = head(0, kind, 6);
  putU48(key, a, HEAD);
  return key;
}

function system2(kind: number, a: number, b: number): Buffer {
  const key = head(0, kind, 12);
  putU48(key, a, HEAD);
  putU48(key, b, HEAD + 6);
  return key;
}

// --- of an inode -----------------------------------------------------------------------------------------------------

export function inodeKey(ino: Ino): Buffer {
  return head(ino, KIND_INODE, 0);
}
/** The same as a latin1 string. */
export function inodeId(ino: Ino): string {
  putU48(SCRATCH, ino, 0);
  SCRATCH[6] = KIND_INODE;
  return SCRATCH.latin1Slice(0, HEAD);
}
export function entryKey(dir: Ino, name: Buffer): Buffer {
  return named(dir, KIND_ENTRY, name);
}
/** The same as a latin1 string. `name`: at most NAME_MAX bytes. */
export function entryId(dir: Ino, name: Buffer): string {
  putU48(SCRATCH, dir, 0);
  SCRATCH[6] = KIND_ENTRY;
  // A few bytes: without a call for them.
  for (let i = 0; i < name.length; i++) SCRATCH[HEAD + i] = name[i] as number;
  return SCRATCH.latin1Slice(0, HEAD + name.length);
}
/** The first key behind the entry `name` (names have no NUL); an empty name: the first entry. */
export function entryKeyAfter(dir: Ino, name: Buffer): Buffer {
  if (name.length === 0) return head(dir, KIND_ENTRY, 0);
  const key = head(dir, KIND_ENTRY, name.length + 1);
  key.set(name, HEAD);
  key[HEAD + name.length] = 0;
  return key;
}
export function entryKeyEnd(dir: Ino): Buffer {
  return head(dir, KIND_ENTRY + 1, 0);
}
/** A view of the key. */
export function nameOfEntryKey(key: Buffer): Buffer {
  return key.subarray(HEAD);
}
export function xattrKey(ino: Ino, name: Buffer): Buffer {
  return named(ino, KIND_XATTR, name);
}
export function xattrKeyStart(ino: Ino): Buffer {
  return head(ino, KIND_XATTR, 0);
}
export function xattrKeyEnd(ino: Ino): Buffer {
  return head(ino, KIND_XATTR + 1, 0);
}
export function nameOfXattrKey(key: Buffer): Buffer {
  return key.subarray(HEAD);
}
export function targetKey(ino: Ino): Buffer {
  return head(ino, KIND_TARGET, 0);
}
export function blockKey(ino: Ino, index: number): Buffer {
  const key = head(ino, KIND_BLOCK, 4);
  putU32(key, index, HEAD);
  return key;
}
export function blockKeyEnd(ino: Ino): Buffer {
  return head(ino, KIND_BLOCK + 1, 0);
}
export function indexOfBlockKey(key: Buffer): number {
  return getU32(key, HEAD);
}
/** Everything of an inode but its attributes and entries: extended attributes, target, blocks. */
export function contentsKeyStart(ino: Ino): Buffer {
  return head(ino, KIND_XATTR, 0);
}
// --- of the system ---------------------------------------------------------------------------------------------------

/** Shared: nobody writes into it. */
export const COUNTERS_KEY: Buffer = head(0, KIND_COUNTERS, 0);
export const COUNTERS_ID: string = COUNTERS_KEY.latin1Slice(0, HEAD);

export function orphanKey(unlinkedAt: number, ino: Ino): Buffer {
  return system2(KIND_ORPHAN, unlinkedAt, ino);
}
export function orphanKeyStart(): Buffer {
  return head(0, KIND_ORPHAN, 0);
}
/** Behind all orphans that were unlinked at `op` or before. */
export function orphanKeyBehind(op: number): Buffer {
  return system1(KIND_ORPHAN, op + 1);
}
export function orphanKeyEnd(): Buffer {
  return head(0, KIND_ORPHAN + 1, 0);
}
export function opOfOrphanKey(key: Buffer): number {
  return getU48(key, HEAD);
}
export function inoOfOrphanKey(key: Buffer): Ino {
  return asIno(getU48(key, HEAD + 6));
}

export function holderKey(session: number): Buffer {
  return system1(KIND_HOLDER, session);
}
export function confirmedKey(op: number, session: number): Buffer {
  return system2(KIND_CONFIRMED, op, session);
}
export function confirmedKeyStart(): Buffer {
  return head(0, KIND_CONFIRMED, 0);
}
export function confirmedKeyEnd(): Buffer {
  return head(0, KIND_CONFIRMED + 1, 0);
}
export function opOfConfirmedKey(key: Buffer): number {
  return getU48(key, HEAD);
}

export function holdKey(session: number, ino: Ino): Buffer {
  return system2(KIND_HOLD, session, ino);
}
export function holdKeyStart(session: number): Buffer {
  return system1(KIND_HOLD, session);
}
export function holdKeyEnd(session: number): Buffer {
  return system1(KIND_HOLD, session + 1);
}
export function inoOfHoldKey(key: Buffer): Ino {
  return asIno(getU48(key, HEAD + 6));
}
export function heldKey(ino: Ino): Buffer {
  return system1(KIND_HELD, ino);
}

export function endedKey(session: number): Buffer {
  return system1(KIND_ENDED, session);
}
export function endedKeyStart(): Buffer {
  return head(0, KIND_ENDED, 0);
}
export function endedKeyEnd(): Buffer {
  return head(0, KIND_ENDED + 1, 0);
}
export function sessionOfEndedKey(key: Buffer): SessionId {
  return sessionId(getU48(key, HEAD));
}

export function freeingKey(ino: Ino): Buffer {
  return system1(KIND_FREEING, ino);
}
export function freeingKeyStart(): Buffer {
  return head(0, KIND_FREEING, 0);
}
export function freeingKeyEnd(): Buffer {
  return head(0, KIND_FREEING + 1, 0);
}
export function detachedKey(ino: Ino): Buffer {
  return system1(KIND_DETACHED, ino);
}
export function detachedKeyStart(): Buffer {
  return head(0, KIND_DETACHED, 0);
}
export function detachedKeyEnd(): Buffer {
  return head(0, KIND_DETACHED + 1, 0);
}
/** Of a freeing or detached key. */
export function inoOfQueueKey(key: Buffer): Ino {
  return asIno(getU48(key, HEAD));
}

/** What a key is, for tools and tests. */
export type ParsedKey =
  | { readonly type: 'inode' | 'target'; readonly ino: Ino }
  | { readonly type: 'entry' | 'xattr'; readonly ino: Ino; readonly name: Buffer }
  | { readonly type: 'block'; readonly ino: Ino; readonly index: number }
  | { readonly type: 'system'; readonly kind: number; readonly rest: Buffer };

export function parseKey(key: Buffer): ParsedKey {
  assert(key.length >= HEAD, 'a key has an inode number and a kind');
  const owner = asIno(getU48(key, 0));
  const kind = key.readUInt8(6);
  if (owner === 0) return { type: 'system', kind, rest: key.subarray(HEAD) };
  switch (kind) {
    case KIND_INODE:
      return { type: 'inode', ino: owner };
    case KIND_TARGET:
      return { type: 'target', ino: owner };
    case KIND_ENTRY:
      return { type: 'entry', ino: owner, name: nameOfEntryKey(key) };
    case KIND_XATTR:
      return { type: 'xattr', ino: owner, name: nameOfXattrKey(key) };
    case KIND_BLOCK:
      return { type: 'block', ino: owner, index: indexOfBlockKey(key) };
    default:
      assert(false, `unknown kind of key ${kind}`);
  }
}
