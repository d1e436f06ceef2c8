/** Pure: does what a donor says of a node hash to what is expected, and what follows from it for the own records? */
import { sha256Bytes } from '../lib/hash.ts';
import type { RecordChange } from './checkpoint_writer.ts';
import { ABSENT, innerHash } from './hashes.ts';
import { childAt, headBytes, innerId, slotOf, writeHead, type Child, type Place } from './inner_node.ts';
import { hasPrefix, prefixExtends, slotBits, slotPrefix } from './key_bits.ts';
import { putChange, type NodeSource, type Top } from './merkle_tree.ts';
import { PAGE_RECORDS, buildPageOf, entryOfChange, hashOfRecord, hashedPart, keyOfEntry, type Entry } from './page.ts';
import { FINGERPRINT_BYTES, type AnswerSlot, type InnerAnswer, type NodePlace, type NodeRequest, type PageAnswer } from './transfer_messages.ts';
import { findInner, locatePage, recordsInRange, type Range, type RangeRecord } from './tree_walk.ts';

/** A node of the target that differs from the own one. */
export interface WantedNode extends NodeRequest {
  readonly hash: Buffer;
  /** All keys for which the node stands: its own prefix, or that of its slot, which may be shorter. */
  readonly range: Range;
}

export interface VerifiedInner {
  /** Those that the donor told the hashes of: the others are equal to the own. */
  readonly children: readonly WantedNode[];
  /** Ranges in which the target has no record and the own tree may have. */
  readonly empty: readonly Range[];
}

/** Null: it does not hash to what is wanted. */
export function verifyInner(source: NodeSource, top: Top, wanted: NodePlace & { readonly hash: Buffer }, answer: InnerAnswer): VerifiedInner | null {
  const nibbles = wanted.bits >> 2;
  const child = findInner(source, top, wanted.prefix, nibbles);
  const own = child === null ? null : source(innerId(child), child.hash);
  const places: (Place | null)[] = [];
  const hashes: Buffer[] = [];
  for (const [slot, told] of answer.slots.entries()) {
    const found = told === null ? null : (completed(told) ?? sameShape(own === null ? null : childAt(own, slot), told));
    if (told !== null && found === null) return null;
    places.push(found);
    hashes.push(found === null ? ABSENT : found.hash);
  }
  const head = Buffer.allocUnsafe(headBytes(places, nibbles));
  writeHead(head, places, wanted.prefix, nibbles);
  if (!innerHash(head, hashes).equals(wanted.hash)) return null;

  const children: WantedNode[] = [];
  const empty: Range[] = [];
  let covered = 0;
  for (let slot = 0; slot < 16; slot++) {
    const told = answer.slots[slot] as AnswerSlot | null;
    if (told === null) {
      if (slot >= covered && (own === null || slotOf(own, slot) >= 0)) empty.push({ prefix: slotPrefix(wanted.prefix, nibbles, slot), bits: slotBits(nibbles, 1) });
      continue;
    }
    const span = told.kind === 'page' ? told.span : 1;
    covered = slot + span;
    if (told.hash === null) continue;
    // The answer that the hash is a part of need not stay until the node was fetched.
    const hash = Buffer.from(told.hash);
    const range: Range = { prefix: slotPrefix(wanted.prefix, nibbles, slot), bits: slotBits(nibbles, span) };
    if (told.kind === 'page') {
      children.push({ kind: 'page', prefix: range.prefix, bits: range.bits, hash, range, full: false });
    } else {
      if (!prefixExtends(told.prefix, told.nibbles * 4, range.prefix, range.bits)) return null;
      children.push({ kind: 'inner', prefix: told.prefix, bits: told.nibbles * 4, hash, range, full: false });
    }
  }
  return { children, empty };
}

type Completed = Place & { readonly hash: Buffer };

function completed(told: AnswerSlot): Completed | null {
  if (told.hash === null) return null;
  return told.kind === 'page' ? { kind: 'page', span: told.span, hash: told.hash } : told;
}

// The own child in a slot that is said not to have changed.
function sameShape(own: Child | null, told: AnswerSlot): Completed | null {
  if (own === null || own.kind !== told.kind) return null;
  if (own.kind === 'page' && told.kind === 'page' && own.span !== told.span) return null;
  return own;
}

export interface VerifiedChange {
  readonly key: Buffer;
  /** null: to be deleted. */
  readonly value: Buffer | null;
  /** As its page has it (page.ts: pageEntry). */
  readonly entry: Buffer | null;
}

/**
 * Own records of a page's range that are compared at once. Where most of a state has been deleted, one page of the target
 * stands for any number of them: then the page has to be told as a whole, and what else is here goes in portions.
 */
const OWN_AT_ONCE = 1024;

export interface VerifiedPage {
  /** In no order. */
  readonly changes: readonly VerifiedChange[];
  /** Keys, as latin1 strings, beside which nothing in the page's range may stay; null: `changes` has what goes. */
  readonly only: ReadonlySet<string> | null;
}

/** The changes that turn the own records of the page's range into the target's; null: they would not be the target's, or it cannot be told. */
export function verifyPage(source: NodeSource, top: Top, wanted: WantedNode, answer: PageAnswer): VerifiedPage | null {
  const some = recordsInRange(source, top, { range: wanted, except: null, after: null }, OWN_AT_ONCE + 1);
  const isLarge = some.length > OWN_AT_ONCE;
  if (isLarge && !answer.complete) return null;
  const told: VerifiedChange[] = [];
  const entries: Entry[] = [];
  for (const { key, value } of answer.records) {
    if (!hasPrefix(key, wanted.prefix, wanted.bits)) return null;
    const change = putChange(key, value);
    told.push({ key, value, entry: change.entry });
    entries.push(entryOfChange(change, 0));
  }
  const own = isLarge ? [] : some;
  // Most of a whole state goes into an empty tree.
  const changes = own.length === 0 && isAscending(entries) ? told : merged(own, told, entries, answer);
  if (changes === null || entries.length === 0 || entries.length > PAGE_RECORDS) return null;
  const page = buildPageOf(entries, 0, entries.length, 0, (length) => Buffer.allocUnsafe(length));
  if (!sha256Bytes(hashedPart(page.bytes)).equals(wanted.hash)) return null;
  if (!isLarge) return { changes, only: null };
  return { changes: changes.filter((change) => !isOwn(source, top, change)), only: new Set(changes.map(({ key }) => idOf(key))) };
}

/** Whether the own tree has the record as it is told. */
function isOwn(source: NodeSource, top: Top, { key, entry }: VerifiedChange): boolean {
  const page = locatePage(source, top, key);
  const hash = page === null ? undefined : hashOfRecord(source(page.id, page.hash), key);
  return hash !== undefined && entry !== null && entry.latin1Slice(entry.length - hash.length) === hash;
}

/** What changes of the own records; `entries` becomes what the page has then. Null: a record is told twice. */
function merged(own: readonly RangeRecord[], told: readonly VerifiedChange[], entries: Entry[], answer: PageAnswer): VerifiedChange[] | null {
  const ownHashes = new Map<string, Buffer>();
  for (const { key, hash } of own) ownHashes.set(idOf(key), hash);
  const byId = new Map<string, Entry>();
  const changes: VerifiedChange[] = [];
  for (const [i, change] of told.entries()) {
    const id = idOf(change.key);
    if (byId.has(id)) return null;
    byId.set(id, entries[i] as Entry);
    const before = ownHashes.get(id);
    const entry = change.entry as Buffer;
    if (before === undefined || before.compare(entry, entry.length - before.length) !== 0) changes.push(change);
  }
  const prints = answer.fingerprints === null ? null : fingerprintSet(answer.fingerprints);
  for (const { key, hash } of own) {
    const id = idOf(key);
    if (byId.has(id)) continue;
    const stays = !answer.complete && (prints === null || prints.has(hash.latin1Slice(0, FINGERPRINT_BYTES)));
    if (stays) byId.set(id, ownEntry(key, hash));
    else changes.push({ key, value: null, entry: null });
  }
  entries.splice(0, entries.length, ...[...byId.keys()].sort().map((id) => byId.get(id) as Entry));
  return changes;
}

/** In memory of their own: what came is a part of a whole answer, or of own pages, most of which is not needed any more. */
export function withOwnMemory(changes: readonly VerifiedChange[]): RecordChange[] {
  const block = Buffer.allocUnsafeSlow(changes.reduce((n, { key, value, entry }) => n + (entry ?? key).length + (value?.length ?? 0), 0));
  let at = 0;
  const copied = (bytes: Buffer): Buffer => {
    block.set(bytes, at);
    at += bytes.length;
    return block.subarray(at - bytes.length, at);
  };
  return changes.map((change) => {
    const value = change.value === null ? null : copied(change.value);
    const entry = change.entry === null ? null : copied(change.entry);
    return { key: entry === null ? copied(change.key) : keyOfEntry(entry), value, entry, size: value?.length ?? 0 };
  });
}

export function isAscending(records: readonly { readonly key: Buffer }[]): boolean {
  return records.every(({ key }, i) => i === 0 || (records[i - 1] as { readonly key: Buffer }).key.compare(key) < 0);
}

function idOf(key: Buffer): string {
  return key.latin1Slice(0, key.length);
}
function fingerprintSet(prints: Buffer): Set<string> {
  const out = new Set<string>();
  for (let at = 0; at < prints.length; at += FINGERPRINT_BYTES) out.add(prints.latin1Slice(at, at + FINGERPRINT_BYTES));
  return out;
}
function ownEntry(key: Buffer, hash: Buffer): Entry {
  const bytes = Buffer.allocUnsafe(2 + key.length + hash.length);
  bytes.writeUInt16BE(key.length, 0);
  bytes.set(key, 2);
  bytes.set(hash, 2 + key.length);
  return { key, bytes, start: 0, end: bytes.length, stamp: 0, size: 0 };
}
