/**
 * Re-reads records and nodes of a checkpoint and compares each with what the tree says above it, up to the root. The
 * walk goes through the pages in the order of their keys and is cut into short stretches: each takes the newest checkpoint
 * there is, goes down to where the last one ended, and holds the checkpoint no longer than that. So a walk may take a
 * day without keeping anything from being reclaimed; a page that is there all that day is met once.
 */
import { EMPTY } from '../lib/bytes.ts';
import type { PinnedCheckpoint } from './donor.ts';
import { PAGE } from './hashes.ts';
import { decodeInner, innerId, nodeId, type Child } from './inner_node.ts';
import { slotBits, slotPrefix } from './key_bits.ts';
import { readSettled } from './key_value_store.ts';
import { pageEntries, type PageEntry } from './page.ts';
import type { Slices } from './slices.ts';
import { nodeKey, recordKeyOf } from './store_keys.ts';
import { auditedNode, auditedNodeThere } from './stored_node.ts';
import { checkedRecord, isRecord } from './verified_reads.ts';

export interface ScrubCounts {
  pages: number;
  innerNodes: number;
  records: number;
  /** Of nodes, keys and values that were read. */
  bytes: number;
}

/** Values read at a time. */
const CHUNK_BYTES = 256 << 10;
const UNCACHED = { fillCache: false } as const;

interface Place {
  readonly child: Child;
  readonly prefix: Buffer;
  readonly bits: number;
}

/**
 * Verifies pages from the one that holds `from` on (empty: the first), until `bytes` bytes have been read or there are no more,
 * and at least one. Adds to `counts`. Resolves to where to go on; null: that was all. Rejects with StoreDamageError.
 */
export async function scrubStretch(at: PinnedCheckpoint, from: Buffer, bytes: number, counts: ScrubCounts, slices: Slices): Promise<Buffer | null> {
  const { top, snapshot } = at;
  if (top === null) return null;
  const enough = counts.bytes + bytes;
  const firstPage = counts.pages;
  // Places still to be visited, the next at the end.
  const todo: Place[] = [top.kind === 'page' ? { child: top, prefix: EMPTY, bits: 0 } : { child: top, prefix: top.prefix, bits: top.nibbles * 4 }];
  for (let place = todo.pop(); place !== undefined; place = todo.pop()) {
    if (isBefore(place, from)) continue;
    if (counts.pages > firstPage && counts.bytes >= enough) return place.prefix;
    const { child, prefix, bits } = place;
    const id = child.kind === 'inner' ? innerId(child) : nodeId(PAGE, prefix, bits);
    slices.pause();
    const [stored] = await snapshot.getMany([nodeKey(id)], UNCACHED);
    slices.begin();
    const node = auditedNodeThere(id, child.hash, stored) ?? auditedNode(id, child.hash, await readSettled(snapshot, nodeKey(id), slices));
    counts.bytes += stored?.length ?? 0;
    if (child.kind === 'page') {
      counts.pages++;
      await verifyRecords(at, pageEntries(node), counts, slices);
      continue;
    }
    counts.innerNodes++;
    const { slots, nibbles } = decodeInner(node);
    for (let slot = 15; slot >= 0; slot--) {
      const below = slots[slot] ?? null;
      if (below === null) continue;
      if (below.kind === 'inner') todo.push({ child: below, prefix: below.prefix, bits: below.nibbles * 4 });
      else todo.push({ child: below, prefix: slotPrefix(prefix, nibbles, slot), bits: slotBits(nibbles, below.span) });
    }
  }
  return null;
}

async function verifyRecords(at: PinnedCheckpoint, entries: readonly PageEntry[], counts: ScrubCounts, slices: Slices): Promise<void> {
  for (let next = 0; next < entries.length; ) {
    const chunk: PageEntry[] = [];
    for (let size = 0; next < entries.length && size < CHUNK_BYTES; next++) {
      const entry = entries[next] as PageEntry;
      chunk.push(entry);
      size += entry.size;
    }
    slices.pause();
    const values = await at.snapshot.getMany(chunk.map(({ key }) => recordKeyOf(key)), UNCACHED);
    slices.begin();
    for (const [i, { key, hash }] of chunk.entries()) {
      const wanted = hash.latin1Slice();
      let value = values[i];
      if (!isRecord(key, wanted, value)) value = checkedRecord(key, wanted, await readSettled(at.snapshot, recordKeyOf(key), slices));
      counts.bytes += value.length + key.length;
      counts.records++;
      if (slices.over) await slices.giveWay();
    }
  }
}

/** All of the place's keys are before `from`, a place too: its prefix is less than as many bits of it. */
function isBefore({ prefix, bits }: Place, from: Buffer): boolean {
  const length = (bits + 7) >> 3;
  for (let i = 0; i < length; i++) {
    const mask = i === length - 1 && (bits & 7) !== 0 ? 0xff << (8 - (bits & 7)) : 0xff;
    const difference = ((prefix[i] as number) & mask) - ((from[i] ?? 0) & mask);
    if (difference !== 0) return difference < 0;
  }
  return false;
}
