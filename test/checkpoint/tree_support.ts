/** Shared by the tree's tests: keys as the application makes them, and a checker of every invariant of a tree. */
import { expect } from 'vitest';
import { PAGE } from '../../checkpoint/hashes.ts';
import { decodeInner, hashInner, innerId, nodeId, sentInner, type Child } from '../../checkpoint/inner_node.ts';
import { hasPrefix, slotBits, slotPrefix } from '../../checkpoint/key_bits.ts';
import { PAGE_RECORDS, hashedPart, pageEntries } from '../../checkpoint/page.ts';
import { sourceOf, type MemoryCheckpoint } from '../../checkpoint/memory_record_store.ts';
import { recordHash } from '../../checkpoint/hashes.ts';
import { assert } from '../../lib/assert.ts';
import { EMPTY } from '../../lib/bytes.ts';
import { sha256Bytes } from '../../lib/hash.ts';
import type { Prng } from '../../lib/prng.ts';

export function fileKey(inode: number, kind: number, rest: Buffer | string = ''): Buffer {
  const suffix = typeof rest === 'string' ? Buffer.from(rest, 'utf8') : rest;
  const key = Buffer.alloc(7 + suffix.length);
  key.writeUIntBE(inode, 0, 6);
  key[6] = kind;
  suffix.copy(key, 7);
  return key;
}

export function u32(n: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(n);
  return bytes;
}

/** A key of one of several families: files, names with long common beginnings, block indexes, NUL tails, arbitrary bytes. */
export function randomKey(r: Prng, inodes: number): Buffer {
  const inode = r.below(inodes);
  switch (r.below(8)) {
    case 0:
    case 1:
      return fileKey(inode, 0);
    case 2:
      return fileKey(inode % 7, 1, `file-${r.below(400)}.txt`);
    case 3:
      return fileKey(inode, 3, u32(r.below(300)));
    case 4:
      return fileKey(1, 1, 'a'.repeat(r.below(200)) + String(r.below(5)));
    case 5:
      return fileKey(2, 4, Buffer.alloc(r.below(300)));
    case 6:
      return r.bytes(r.below(4));
    default:
      return fileKey(r.below(0x1_0000_0000), 0);
  }
}

/** Every node is there and no other; hashes, counts and ranges hold; pages are as wide as they may be; records agree. */
export function checkTree(c: MemoryCheckpoint): void {
  const source = sourceOf(c.nodes);
  const seen = new Set<string>();
  const keys: string[] = [];
  const visit = (child: Child, prefix: Buffer, bits: number): void => {
    if (child.kind === 'page') {
      const id = nodeId(PAGE, prefix, bits);
      seen.add(id);
      const page = source(id, child.hash);
      const entries = pageEntries(page);
      assert(entries.length === child.records, 'a child counts its records');
      assert(entries.length > 0, 'no page is empty');
      assert(entries.length <= PAGE_RECORDS, 'no page is overfull');
      assert(sha256Bytes(hashedPart(page)).equals(child.hash), 'a page hashes to what its parent says');
      let bytes = 0;
      for (const entry of entries) {
        assert(hasPrefix(entry.key, prefix, bits), "a key is in its page's range");
        const value = c.records.get(entry.key);
        assert(value !== undefined, 'each key of the tree has a record');
        assert(entry.hash.latin1Slice() === recordHash(entry.key, value as Buffer), 'a record hashes to what its page says');
        assert(entry.stamp <= child.stamp, 'stamps rise upwards');
        keys.push(entry.key.toString('latin1'));
        bytes += entry.key.length + (value as Buffer).length;
      }
      assert(child.recordBytes === bytes, 'a page counts its bytes');
      return;
    }
    const id = innerId(child);
    seen.add(id);
    const bytes = source(id, child.hash);
    const hashed = hashInner(sentInner(bytes) ?? EMPTY);
    assert(hashed?.hash.equals(child.hash) === true, 'an inner node hashes to what its parent says');
    assert(hashed.bytes.equals(bytes), 'an inner node in memory has the hashes between its slots and its root');
    const node = decodeInner(bytes);
    assert(node.nibbles * 4 >= bits, 'a node lies within its range');
    assert(child.records > PAGE_RECORDS, 'an inner node has more records than a page');
    const counts = node.slots.map((s) => s?.records ?? 0);
    assert(counts.reduce((a, b) => a + b, 0) === child.records, 'an inner node counts its records');
    assert(node.slots.reduce((a, b) => a + (b?.recordBytes ?? 0), 0) === child.recordBytes, 'an inner node counts its bytes');
    assert(node.slots.filter((s) => s !== null).length > 1, 'no inner node has a lone child');
    for (let span = 2; span <= 16; span <<= 1) {
      for (let slot = 0; slot < 16; slot += span) {
        const total = counts.slice(slot, slot + span).reduce((a, b) => a + b, 0);
        const first = node.slots[slot];
        // Slots that hold at most a page's records together are one page, which begins the range or a wider one.
        if (total > 0 && total <= PAGE_RECORDS) assert(first?.kind === 'page' && first.span >= span, 'pages are as wide as they may be');
      }
    }
    for (let slot = 0; slot < 16; slot++) {
      const below = node.slots[slot];
      if (below === null || below === undefined) continue;
      assert(below.stamp <= child.stamp, 'stamps rise upwards');
      if (below.kind === 'page') {
        assert(slot % below.span === 0, 'pages are aligned');
        visit(below, slotPrefix(node.prefix, node.nibbles, slot), slotBits(node.nibbles, below.span));
      } else {
        visit(below, slotPrefix(node.prefix, node.nibbles, slot), slotBits(node.nibbles, 1));
      }
    }
  };
  if (c.top !== null) visit(c.top, Buffer.alloc(0), 0);
  assert(c.count === c.records.size, 'the checkpoint counts its records');
  expect(keys).toEqual([...c.records.entries()].map(([k]) => k.toString('latin1')));
  expect([...c.nodes.keys()].sort()).toEqual([...seen].sort());
}
