/** Recounts everything from the records: what must hold after every operation, whatever happened before. */
import { assert, defined } from '../../lib/assert.ts';
import type { MemoryTable } from '../../lib/memory_table.ts';
import { SystemKind } from '../../lib/system_keys.ts';
import { unitsOf } from '../../fsservice/block_store.ts';
import { decodeCounters } from '../../fsservice/counters.ts';
import { decodeInode, type Inode } from '../../fsservice/inode.ts';
import { COUNTERS_KEY, detachedKey, freeingKey, heldKey, inodeKey, orphanKey, parseKey } from '../../fsservice/keys.ts';
import { BLOCK_SIZE, ROOT_INO } from '../../fsservice/operations.ts';
import { decodeEntry } from '../../fsservice/records.ts';

interface Tally {
  names: number;
  subdirectories: number;
  xattrBytes: number;
  units: number;
  targets: number;
}

interface Census {
  readonly inodes: Map<number, Inode>;
  readonly tallies: Map<number, Tally>;
  readonly links: Map<number, number>;
  readonly system: Map<number, number>;
  bytes: number;
}

function take(table: MemoryTable): Census {
  const census: Census = { inodes: new Map(), tallies: new Map(), links: new Map(), system: new Map(), bytes: 0 };
  for (const [key, value] of table.entries()) {
    const parsed = parseKey(key);
    if (parsed.type === 'system') {
      census.system.set(parsed.kind, (census.system.get(parsed.kind) ?? 0) + 1);
      continue;
    }
    if (parsed.type === 'inode') {
      census.inodes.set(parsed.ino, decodeInode(parsed.ino, value));
      continue;
    }
    const tally = census.tallies.get(parsed.ino) ?? { names: 0, subdirectories: 0, xattrBytes: 0, units: 0, targets: 0 };
    census.tallies.set(parsed.ino, tally);
    if (parsed.type === 'entry') {
      const entry = decodeEntry(value);
      tally.names++;
      if (entry.type === 'directory') tally.subdirectories++;
      census.links.set(entry.ino, (census.links.get(entry.ino) ?? 0) + 1);
      const child = defined(table.get(inodeKey(entry.ino)), `the inode of entry ${parsed.name.toString()}`);
      const inode = decodeInode(entry.ino, child);
      assert(inode.type === entry.type, 'an entry has the type of its inode');
      assert(inode.type !== 'directory' || inode.parent === parsed.ino, "'..' leads to where the entry is");
    } else if (parsed.type === 'xattr') {
      tally.xattrBytes += parsed.name.length + value.length;
    } else if (parsed.type === 'target') {
      tally.targets++;
    } else {
      tally.units += unitsOf(value.length - 4);
      census.bytes += unitsOf(value.length - 4) * 512;
    }
  }
  return census;
}

function checkInode(table: MemoryTable, inode: Inode, tally: Tally, links: number): void {
  const is = `inode ${inode.ino}`;
  if (inode.type === 'directory') {
    assert(inode.size === tally.names, `${is}: counts its entries`);
    const isCutOff = table.get(detachedKey(inode.ino)) !== undefined;
    const expected = inode.ino === ROOT_INO || links === 1 ? 2 + tally.subdirectories : 0;
    assert(inode.nlink === expected, `${is}: nlink ${inode.nlink} where ${expected} is right`);
    assert(!isCutOff || (inode.nlink === 0 && inode.unlinkedAt === 0), `${is}: what is cut off has no name`);
    assert(isCutOff || inode.nlink > 0 || (inode.unlinkedAt !== 0 && inode.size === 0), `${is}: without a name it is cut off, or an empty orphan`);
  } else {
    assert(inode.nlink === links, `${is}: nlink ${inode.nlink} where ${links} is right`);
    assert(tally.names === 0, `${is}: has no entries`);
  }
  assert(inode.xattrBytes === tally.xattrBytes, `${is}: counts its extended attributes`);
  assert(inode.blocks === tally.units, `${is}: counts its blocks`);
  assert(tally.targets === (inode.type === 'symlink' ? 1 : 0), `${is}: a link has a target`);
  if (inode.unlinkedAt !== 0) {
    assert(inode.nlink === 0, `${is}: an orphan has no link`);
    const queued = table.get(orphanKey(inode.unlinkedAt, inode.ino)) !== undefined;
    assert(queued || table.get(heldKey(inode.ino)) !== undefined, `${is}: an orphan waits or is held`);
  } else {
    assert(inode.nlink > 0 || inode.type === 'directory', `${is}: is linked, an orphan, or cut off`);
  }
  if (inode.pending.length > 0) assert(table.get(freeingKey(inode.ino)) !== undefined, `${is}: its truncation is queued`);
}

function checkBlocks(table: MemoryTable): void {
  for (const [key, value] of table.entries()) {
    const parsed = parseKey(key);
    if (parsed.type === 'system' || parsed.type === 'inode') continue;
    const owner = table.get(inodeKey(parsed.ino));
    if (owner === undefined) {
      assert(parsed.ino === ROOT_INO || table.get(freeingKey(parsed.ino)) !== undefined, `contents of the gone inode ${parsed.ino} are queued`);
      continue;
    }
    if (parsed.type !== 'block') continue;
    const inode = decodeInode(parsed.ino, owner);
    const generation = value.readUInt32BE(0);
    const isCut = inode.pending.some((p) => parsed.index >= p.from && generation < p.generation);
    assert(isCut || parsed.index * BLOCK_SIZE + value.length - 4 <= inode.size, `block ${parsed.index} of inode ${inode.ino} ends with the file`);
  }
}

export function checkInvariants(table: MemoryTable): void {
  const bytes = table.get(COUNTERS_KEY);
  if (bytes === undefined) {
    assert(table.size === 0, 'an unformatted namespace is empty');
    return;
  }
  const counters = decodeCounters(bytes);
  const census = take(table);
  const none: Tally = { names: 0, subdirectories: 0, xattrBytes: 0, units: 0, targets: 0 };
  let orphans = 0;
  for (const inode of census.inodes.values()) {
    assert(inode.ino < counters.nextIno, 'inode numbers are below the next one');
    if (inode.unlinkedAt !== 0) orphans++;
    checkInode(table, inode, census.tallies.get(inode.ino) ?? none, census.links.get(inode.ino) ?? 0);
  }
  checkBlocks(table);
  const count = (kind: number): number => census.system.get(SystemKind.application + kind) ?? 0;
  assert(counters.inodes === census.inodes.size, `inodes: ${counters.inodes} counted, ${census.inodes.size} there`);
  assert(counters.bytes === census.bytes, `bytes: ${counters.bytes} counted, ${census.bytes} there`);
  assert(counters.orphans === orphans, `orphans: ${counters.orphans} counted, ${orphans} there`);
  assert(counters.waiting === count(1), 'the orphan queue is counted');
  assert(counters.holders === count(2) && counters.holders === count(3), 'sessions that hold opens are counted');
  assert(counters.ended === count(6), 'ended sessions are counted');
  assert(counters.freeing === count(7), 'contents to be freed are counted');
  assert(counters.detached === count(8), 'cut-off directories are counted');
}
