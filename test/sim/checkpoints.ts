/**
 * Checkpoints in memory. `CheckpointDisk` is what survives a crash: an image of all records and the id that names it,
 * or null while a transfer has left it between two. `SimulatedCheckpoints` is the port of one process: a live table
 * that remembers what changed since the last checkpoint, so that taking one costs in proportion to the changes.
 *
 * The root is a hash over op, count and the sum (XOR) of the records' hashes: a pure function of the set of records.
 */
import { assert, defined } from '../../lib/assert.ts';
import { digestToBytes, sha256, sha256Bytes, ZERO_DIGEST } from '../../lib/hash.ts';
import { opNumber, view, type Digest, type MemberId, type OpNumber } from '../../lib/ids.ts';
import { MemoryTable } from '../../lib/memory_table.ts';
import type { Prng } from '../../lib/prng.ts';
import { ByteTable, type Table, type TableRecord } from '../../lib/table.ts';
import type { CheckpointPort } from '../../vr/ports.ts';
import type { CheckpointId } from '../../vr/superblock.ts';

interface ImageRecord {
  readonly key: Buffer;
  readonly value: Buffer;
  readonly hash: Buffer;
}

type Image = Map<string, ImageRecord>;

function recordHash(key: Buffer, value: Buffer): Buffer {
  const bytes = Buffer.allocUnsafe(4 + key.length + value.length);
  bytes.writeUInt32BE(key.length, 0);
  key.copy(bytes, 4);
  value.copy(bytes, 4 + key.length);
  return sha256Bytes(bytes);
}

function xorInto(sum: Buffer, hash: Buffer): void {
  for (let i = 0; i < 32; i += 4) sum.writeInt32LE(sum.readInt32LE(i) ^ hash.readInt32LE(i), i);
}

function rootOf(op: OpNumber, count: number, sum: Buffer): Digest {
  const bytes = Buffer.alloc(12 + 32);
  bytes.writeUIntBE(op, 0, 6);
  bytes.writeUIntBE(count, 6, 6);
  sum.copy(bytes, 12);
  return sha256(bytes);
}

/** Root of any set of records, from scratch. */
export function rootOfRecords(op: OpNumber, records: Iterable<TableRecord>): Digest {
  const sum = Buffer.alloc(32);
  let count = 0;
  for (const [key, value] of records) {
    xorInto(sum, recordHash(key, value));
    count++;
  }
  return rootOf(op, count, sum);
}

/** A record is read whose bytes have rotted: found by its checksum, as the process reads it. */
export class DamagedRecord extends Error {
  override readonly name = 'DamagedRecord';
}

/** One checkpoint with its records; never changed once it is made, so that it can be pinned while it is copied. */
interface Snapshot {
  readonly id: CheckpointId;
  readonly image: Image;
}

export class CheckpointDisk {
  /** The newest durable checkpoint; null: between two. */
  durable: CheckpointId | null;
  image: Image = new Map();
  sum: Buffer = Buffer.alloc(32);
  /** Keys of records that can no longer be read. */
  readonly rotten = new Set<string>();
  /** The one before, kept for those who fetch it still; null: collected. */
  #previous: Snapshot | null = null;

  /** @param formatted the records at op 0. */
  constructor(formatted: Iterable<TableRecord>) {
    for (const [key, value] of formatted) {
      const hash = recordHash(key, value);
      this.image.set(key.latin1Slice(0, key.length), { key, value, hash });
      xorInto(this.sum, hash);
    }
    const root = rootOf(opNumber(0), this.image.size, this.sum);
    this.durable = { op: opNumber(0), root, entryHash: ZERO_DIGEST, view: view(0), time: 0 };
  }

  /** The bytes of a record rot, or its sector cannot be read any more. False when there is no record. */
  rot(random: Prng): boolean {
    if (this.image.size === 0) return false;
    const keys = [...this.image.keys()];
    for (let n = random.between(1, 4); n > 0; n--) this.rotten.add(random.pick(keys));
    return true;
  }

  /** Damage was met: what does not hash to what its page says goes, and the state is none until a peer has filled it in. */
  scrub(): void {
    for (const id of this.rotten) this.image.delete(id);
    this.rotten.clear();
    this.#previous = null;
    this.durable = null;
  }

  /** The checkpoint with this root, as it will stay whatever the donor does next. */
  pin(target: CheckpointId): Snapshot | null {
    if (this.durable !== null && this.durable.root === target.root) return { id: this.durable, image: new Map(this.image) };
    return this.#previous !== null && this.#previous.id.root === target.root ? this.#previous : null;
  }

  /** Replaces the checkpoint by one in which these records differ. */
  advance(id: CheckpointId, sum: Buffer, changes: readonly { readonly id: string; readonly record: ImageRecord | null }[], keepPrevious: boolean): void {
    this.#previous = keepPrevious && this.durable !== null ? { id: this.durable, image: new Map(this.image) } : null;
    for (const change of changes) {
      this.rotten.delete(change.id);
      if (change.record === null) this.image.delete(change.id);
      else this.image.set(change.id, change.record);
    }
    this.sum = sum;
    this.durable = id;
  }

  install(snapshot: Snapshot): void {
    // Only what differs was fetched: a rotten record whose hash is right stays as it is.
    for (const id of this.rotten) {
      const own = this.image.get(id);
      const fetched = snapshot.image.get(id);
      if (own === undefined || fetched === undefined || !own.hash.equals(fetched.hash)) this.rotten.delete(id);
    }
    this.image = new Map(snapshot.image);
    this.#previous = null;
    this.sum = Buffer.alloc(32);
    for (const record of this.image.values()) xorInto(this.sum, record.hash);
    this.durable = snapshot.id;
  }
}

/** The live table: a MemoryTable that knows which keys changed since the last checkpoint, and may be out of bounds. */
class LiveTable extends ByteTable {
  changed = new Map<string, Buffer>();
  usable = false;
  #records = new MemoryTable();
  readonly #rotten: ReadonlySet<string>;

  constructor(rotten: ReadonlySet<string>) {
    super();
    this.#rotten = rotten;
  }

  load(image: Image): void {
    this.#records = new MemoryTable();
    for (const id of [...image.keys()].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0))) {
      const record = defined(image.get(id), 'record');
      this.#records.put(record.key, record.value);
    }
    this.changed = new Map();
    this.usable = true;
  }

  get(key: Buffer): Buffer | undefined {
    this.#check();
    if (this.#rotten.size > 0) this.#verify(key);
    return this.#records.get(key);
  }
  put(key: Buffer, value: Buffer): void {
    this.#check();
    this.changed.set(key.latin1Slice(0, key.length), key);
    this.#records.put(key, value);
  }
  delete(key: Buffer): void {
    this.#check();
    this.changed.set(key.latin1Slice(0, key.length), key);
    this.#records.delete(key);
  }
  range(start: Buffer, end: Buffer, limit: number): TableRecord[] {
    this.#check();
    const found = this.#records.range(start, end, limit);
    if (this.#rotten.size > 0) for (const [key] of found) this.#verify(key);
    return found;
  }
  entries(): Iterable<TableRecord> {
    return this.#records.entries();
  }

  /** What was written since the last checkpoint is in memory; the rest is read from the disk. */
  #verify(key: Buffer): void {
    const id = key.latin1Slice(0, key.length);
    if (this.#rotten.has(id) && !this.changed.has(id)) throw new DamagedRecord(`the record ${key.toString('hex')} does not have its checksum`);
  }

  #check(): void {
    assert(this.usable, 'the table is used while a checkpoint is being fetched');
  }
}

export interface CheckpointHost {
  later(delay: number, action: () => void): void;
  kernelLater(delay: number, action: () => void): void;
  /** Milliseconds that writing a checkpoint / one leg of a transfer takes. */
  checkpointDelay(): number;
  transferDelay(): number;
  /** Whether the checkpoint before the newest can still be fetched from here. */
  keepsPrevious(): boolean;
  /** The disk of a peer that runs and can be reached both ways now, or null; asked again to see whether it still can. */
  donor(id: MemberId): CheckpointDisk | null;
  /** The donor has met a rotten record among those that it was asked for: it gives nothing. */
  donorDamaged(id: MemberId): boolean;
  checkpointDurable(id: CheckpointId): void;
  stateInstalled(id: CheckpointId): void;
  stateFetchFailed(reason: string, intact: boolean): void;
  transferEvent(name: 'transfer' | 'transferInterrupted'): void;
}

export class SimulatedCheckpoints implements CheckpointPort {
  readonly #disk: CheckpointDisk;
  readonly #host: CheckpointHost;
  readonly #live: LiveTable;
  #taking = false;
  /** Number of the newest fetch: an older one, or a take that a fetch overtook, finds itself out of date. */
  #generation = 0;

  constructor(disk: CheckpointDisk, host: CheckpointHost) {
    this.#disk = disk;
    this.#host = host;
    this.#live = new LiveTable(disk.rotten);
    if (disk.durable !== null) this.#live.load(disk.image);
  }

  get table(): Table {
    return this.#live;
  }

  /** All records of the live table, for checks. */
  records(): Iterable<TableRecord> {
    return this.#live.entries();
  }

  take(at: Omit<CheckpointId, 'root'>): void {
    assert(!this.#taking, 'a checkpoint is taken while one is being written');
    assert(this.#live.usable, 'a checkpoint is taken while one is being fetched');
    this.#taking = true;
    const generation = this.#generation;
    const before = this.#disk;
    // Frozen at the call: the values of now for everything that changed.
    const sum = Buffer.from(before.sum);
    let count = before.image.size;
    const changes: { readonly id: string; readonly record: ImageRecord | null }[] = [];
    for (const [id, key] of this.#live.changed) {
      const old = before.image.get(id);
      const value = this.#live.get(key);
      if (old !== undefined) {
        xorInto(sum, old.hash);
        count--;
      }
      if (value === undefined) {
        changes.push({ id, record: null });
        continue;
      }
      const record = { key, value, hash: recordHash(key, value) };
      xorInto(sum, record.hash);
      count++;
      changes.push({ id, record });
    }
    this.#live.changed = new Map();
    const id: CheckpointId = { ...at, root: rootOf(at.op, count, sum) };
    this.#host.kernelLater(this.#host.checkpointDelay(), () => {
      if (generation !== this.#generation) return;
      before.advance(id, sum, changes, this.#host.keepsPrevious());
      this.#taking = false;
      this.#host.later(0, () => this.#host.checkpointDurable(id));
    });
  }

  fetch(request: { readonly donors: readonly MemberId[]; readonly lastResort: MemberId | null; readonly target: CheckpointId }): void {
    assert(request.donors.length > 0, 'a fetch without donors');
    this.#live.usable = false;
    this.#taking = false;
    this.#attempt(request.donors, request.target, 0, ++this.#generation);
  }

  /** Asks donor after donor, three rounds, until one gives the target. */
  #attempt(donors: readonly MemberId[], target: CheckpointId, attempt: number, generation: number): void {
    this.#host.later(this.#host.transferDelay(), () => {
      if (generation !== this.#generation) return;
      if (attempt >= donors.length * 3) {
        // What was loaded at the start or executed since is still there, unless a donor began to give.
        const intact = this.#disk.durable !== null;
        this.#live.usable = intact;
        this.#host.stateFetchFailed(`none of ${donors.length} donors gives the checkpoint of op ${target.op}`, intact);
        return;
      }
      const donorId = defined(donors[attempt % donors.length], 'donor');
      const donor = this.#host.donor(donorId);
      const snapshot = donor === null || this.#host.donorDamaged(donorId) ? null : donor.pin(target);
      if (donor === null || snapshot === null) {
        this.#attempt(donors, target, attempt + 1, generation);
        return;
      }
      // From here on the records are a mixture, until the last one is in place.
      this.#disk.durable = null;
      this.#host.later(this.#host.transferDelay(), () => {
        if (generation !== this.#generation) return;
        if (this.#host.donor(donorId) !== donor) {
          this.#host.transferEvent('transferInterrupted');
          this.#attempt(donors, target, attempt + 1, generation);
          return;
        }
        this.#disk.install(snapshot);
        this.#live.load(this.#disk.image);
        this.#host.transferEvent('transfer');
        this.#host.later(0, () => this.#host.stateInstalled(snapshot.id));
      });
    });
  }

  /** The process dies: what was being written or fetched stays undone. */
  crash(): void {
    this.#generation++;
    this.#live.usable = false;
  }
}

/** Compares roots as bytes in messages. */
export function shortRoot(id: CheckpointId): string {
  return `${id.op}:${digestToBytes(id.root).toString('hex', 0, 4)}`;
}
