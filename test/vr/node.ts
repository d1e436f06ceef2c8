/** One replica of a test cluster with its disk. What is on `disk` survives crash(); everything else goes. */
import { assert, defined } from '../../lib/assert.ts';
import { sha256, ZERO_DIGEST } from '../../lib/hash.ts';
import { opNumber, view, type Digest, type MemberId, type OpNumber, type View } from '../../lib/ids.ts';
import { MemoryTable } from '../../lib/memory_table.ts';
import { systemKey, SystemKind } from '../../lib/system_keys.ts';
import type { Configuration } from '../../vr/configuration.ts';
import type { Entry } from '../../vr/entry.ts';
import type { Envelope } from '../../vr/messages.ts';
import type { CheckpointPort, Journal, JournalRecord, Ports, StateMachine, SuperblockStore } from '../../vr/ports.ts';
import { Replica } from '../../vr/replica.ts';
import type { ReplicaOptions } from '../../vr/replica_types.ts';
import type { CheckpointId, Superblock } from '../../vr/superblock.ts';
import type { Cluster } from './cluster.ts';
import { EMPTY_STATE, freshSuperblock } from './group.ts';

type Event = { readonly name: string } & Readonly<Record<string, string | number | boolean>>;

/** Equality and a root over all records, for comparing states. */
export class TestTable extends MemoryTable {
  root(): Digest {
    const parts: Buffer[] = [];
    for (const [k, v] of this.entries()) parts.push(Buffer.from(`${k.length},${v.length};`), k, v);
    return sha256(Buffer.concat(parts));
  }
  equals(other: TestTable): boolean {
    return this.root() === other.root();
  }
  copy(): TestTable {
    const copy = new TestTable();
    for (const [k, v] of this.entries()) copy.put(k, v);
    return copy;
  }
}

interface StoredSnapshot { readonly id: CheckpointId; readonly table: TestTable }

/** Where a group begins that is not a new one: at a checkpoint of another. */
export interface Founding {
  readonly configuration: Configuration;
  disk(id: MemberId): Disk;
}

export class Disk {
  superblock: Superblock;
  base: OpNumber = opNumber(0);
  baseHash: Digest = ZERO_DIGEST;
  entries: Entry[] = [];
  logView: View = view(0);
  damaged = false;
  /** Newest last; the newest is what the table is at, unless a transfer was under way. */
  snapshots: StoredSnapshot[] = [{ id: EMPTY_STATE, table: new TestTable() }];
  transferring = false;

  constructor(superblock: Superblock) {
    this.superblock = superblock;
  }

  get head(): OpNumber {
    return opNumber(this.base + this.entries.length);
  }

  write(record: JournalRecord): void {
    if (record.type === 'install') {
      if (record.base >= this.base && record.base <= this.head) {
        this.entries.length = record.base - this.base;
      } else {
        this.base = record.base;
        this.baseHash = record.baseHash;
        this.entries = [];
      }
      this.logView = record.logView;
      this.damaged = false;
    }
    for (const e of record.entries) {
      assert(e.op === this.head + 1, `journal: op ${e.op} behind ${this.head}`);
      this.entries.push(e);
    }
  }

  collect(op: OpNumber): void {
    if (op <= this.base) return;
    const last = this.entries[op - this.base - 1];
    if (last === undefined) return;
    this.entries = this.entries.slice(op - this.base);
    this.base = op;
    this.baseHash = last.hash;
  }
}

/** Counts in the table: `app | op` → body. The result says at which op it was executed. */
class AppendOnly implements StateMachine {
  readonly executed: Entry[] = [];
  readonly #node: Node;
  housekeepingBody: Buffer | undefined;

  constructor(node: Node) {
    this.#node = node;
  }
  #put(kind: string, entry: Entry, value: Buffer): void {
    this.#node.table.put(systemKey(SystemKind.application, Buffer.from(`${kind}/${String(entry.op).padStart(12, '0')}`)), value);
  }
  execute(entry: Entry): Buffer {
    this.executed.push(entry);
    if (entry.kind === 'housekeeping') this.housekeepingBody = undefined;
    this.#put('op', entry, entry.body);
    return Buffer.from(`${entry.op}:${entry.body.toString()}`);
  }
  checkpointAsked(): boolean {
    return this.executed.at(-1)?.body.toString() === 'checkpoint';
  }
  sessionStarted(entry: Entry, flags: number): void {
    this.#put('started', entry, Buffer.from([flags]));
  }
  sessionEnded(entry: Entry, session: number): void {
    this.#put(`ended-${session}`, entry, Buffer.from(String(session)));
  }
  query(body: Buffer): Buffer {
    return Buffer.from(`${body.toString()}@${this.#node.replica.executed}`);
  }
  housekeeping(): Buffer | undefined {
    return this.housekeepingBody;
  }
}

export class Node {
  readonly id: MemberId;
  readonly cluster: Cluster;
  readonly disk: Disk;
  readonly events: Event[] = [];
  table = new TestTable();
  application: AppendOnly;
  up = false;
  /** While set, nothing of that kind becomes durable. */
  slowJournal = false;
  /** How long a group commit takes. */
  journalMs = 0;
  slowSuperblock = false;
  slowCheckpoint = false;
  slowFetch = false;
  /** Every fetch comes to nothing: nobody gives, or (torn) gives and breaks off in the midst. */
  failFetch: boolean | 'torn' = false;
  /** Stopped: it does nothing, and what is sent to it meanwhile is lost. */
  paused = false;
  /** All checkpoints that it takes stay to be fetched, not the last two. */
  keepsSnapshots = false;
  /** What it is configured with otherwise than the others, from its next start on. */
  options: Partial<ReplicaOptions> = {};
  /** Of its monotonic clock against the cluster's time. */
  clockRate = 1;
  #clockBase = 0;
  #replica: Replica | undefined;
  #ticket = 0;
  /** The table is between two states. */
  #torn = false;
  /** The newest superblock that was queued. */
  #written: Superblock | null = null;
  #journalDueAt: number | null = null;
  #journal: { ticket: number; record: JournalRecord }[] = [];
  #superblocks: { ticket: number; superblock: Superblock }[] = [];
  #taking: StoredSnapshot | null = null;
  /** Of the last transfer: the donor of last resort. */
  spared: MemberId | null = null;
  #fetching: { readonly target: CheckpointId; readonly donors: readonly MemberId[] } | null = null;

  constructor(cluster: Cluster, id: MemberId) {
    this.cluster = cluster;
    this.id = id;
    this.disk = cluster.founding?.disk(id) ?? new Disk(freshSuperblock(cluster.configuration, id));
    this.application = new AppendOnly(this);
  }

  get replica(): Replica {
    return defined(this.#replica, `replica of member ${this.id}`);
  }
  get clock(): number {
    return (this.cluster.now - this.#clockBase) * this.clockRate;
  }
  get envelope(): Envelope {
    const { configuration, incarnation } = this.#written ?? this.disk.superblock;
    return { epoch: configuration.epoch, sender: this.id, incarnation };
  }
  get memoryMode(): boolean {
    return this.cluster.configuration.durability === 'memory';
  }

  // --- life ------------------------------------------------------------------------------------------------------------

  start(): void {
    const { disk } = this;
    const newest = defined(disk.snapshots.at(-1), 'a snapshot');
    this.table = newest.table.copy();
    this.application = new AppendOnly(this);
    this.up = true;
    this.#torn = disk.transferring;
    // A boot begins at a clock of its own.
    this.#clockBase = this.cluster.now - 1000;
    const { base, baseHash, logView } = disk;
    const lost = this.memoryMode && disk.superblock.incarnation > 0;
    const log = this.memoryMode
      ? { base: newest.id.op, baseHash: newest.id.entryHash, entries: [], logView: view(0), intact: !lost }
      : { base, baseHash, entries: [...disk.entries], logView, intact: !disk.damaged };
    this.#replica = new Replica(this.#ports(), { ...this.cluster.options, ...this.options }, { superblock: disk.superblock, log, state: disk.transferring ? null : newest.id });
  }

  crash(): void {
    this.up = false;
    this.#replica = undefined;
    this.#journal = [];
    this.#journalDueAt = null;
    this.#superblocks = [];
    this.#written = null;
    this.#taking = null;
    this.#fetching = null;
    this.slowJournal = this.slowSuperblock = this.slowCheckpoint = this.slowFetch = this.failFetch = this.paused = false;
  }
  restart(): void {
    this.crash();
    this.start();
  }

  // --- ports -----------------------------------------------------------------------------------------------------------

  #ports(): Ports {
    const { cluster } = this;
    const random = cluster.random.fork();
    const journal: Journal = {
      append: (record) => {
        this.#journal.push({ ticket: ++this.#ticket, record });
        return this.#ticket;
      },
      collect: (op) => { this.disk.collect(op); },
    };
    const superblock: SuperblockStore = {
      write: (s) => {
        this.#written = s;
        this.#superblocks.push({ ticket: ++this.#ticket, superblock: s });
        return this.#ticket;
      },
    };
    return {
      network: {
        setPeers: () => undefined,
        send: (to, m) => { cluster.send(this, to, m); },
        broadcast: (to, m) => { for (const id of to) cluster.send(this, id, m); },
        reply: (connection, message) => { cluster.replies.push({ node: cluster.nodes.indexOf(this), connection, message }); },
        welcomeAgain: () => {
          const { configuration, view } = this.replica.redirect();
          cluster.welcomes.push({ node: cluster.nodes.indexOf(this), epoch: configuration.epoch, view });
        },
      },
      journal,
      superblock,
      stateMachine: this.application,
      checkpoints: this.#checkpoints(),
      clock: { wall: () => cluster.wallOffset + cluster.now * 1000, monotonic: () => this.clock },
      random: { bytes: (n) => random.bytes(n), uint32: () => random.uint32() },
      events: { event: (name, data) => { this.events.push({ name, ...data }); } },
    };
  }

  #checkpoints(): CheckpointPort {
    const current = (): TestTable => this.table;
    return {
      table: {
        get: (k) => current().get(k),
        put: (k, v) => { current().put(k, v); },
        delete: (k) => { current().delete(k); },
        range: (a, b, n) => current().range(a, b, n),
        find: (id, decode) => current().find(id, decode),
        store: (id, value) => { current().store(id, value); },
      },
      take: (at) => {
        assert(this.#taking === null, 'one checkpoint at a time');
        const table = this.table.copy();
        this.#taking = { id: { ...at, root: table.root() }, table };
      },
      fetch: (request) => {
        assert(this.#fetching === null, 'one transfer at a time');
        this.#fetching = request;
        this.spared = request.lastResort;
        this.disk.transferring = true;
      },
    };
  }

  /** Everything that is due becomes durable; returns whether anything was. */
  turn(): boolean {
    if (!this.up || this.paused) return false;
    let busy = false;
    if (!this.slowJournal && this.#journal.length > 0 && this.#syncJournal()) busy = true;
    if (!this.slowSuperblock && this.#superblocks.length > 0) busy = this.#syncSuperblock();
    if (!this.slowCheckpoint && this.#taking !== null) {
      const done = this.#taking;
      this.#taking = null;
      this.#store(done);
      this.replica.onCheckpointDurable(done.id);
      busy = true;
    }
    if (!this.slowFetch && this.#fetching !== null) {
      this.#fetch(this.#fetching.target, this.#fetching.donors);
      busy = true;
    }
    return busy;
  }

  #syncJournal(): boolean {
    const { now } = this.cluster;
    this.#journalDueAt ??= now + this.journalMs;
    if (now < this.#journalDueAt) return false;
    this.#journalDueAt = null;
    const group = this.#journal;
    this.#journal = [];
    if (!this.memoryMode) for (const { record } of group) this.disk.write(record);
    this.replica.onJournalDurable(defined(group.at(-1), 'a record').ticket);
    return true;
  }

  #syncSuperblock(): boolean {
    const group = this.#superblocks;
    this.#superblocks = [];
    const last = defined(group.at(-1), 'a superblock');
    this.disk.superblock = last.superblock;
    this.replica.onSuperblockDurable(last.ticket);
    return true;
  }

  #store(snapshot: StoredSnapshot): void {
    this.disk.snapshots.push(snapshot);
    while (this.disk.snapshots.length > 2 && !this.keepsSnapshots) this.disk.snapshots.shift();
  }

  #fetch(target: CheckpointId, from: readonly MemberId[]): void {
    this.#fetching = null;
    const donors = this.cluster.nodes.filter((n) => from.includes(n.id) && n.up && this.failFetch !== true);
    for (const donor of donors) {
      const found = donor.disk.snapshots.find((s) => s.id.op === target.op && s.id.root === target.root);
      if (found === undefined) continue;
      if (this.failFetch === 'torn') {
        this.#torn = true;
        break;
      }
      this.#torn = false;
      this.table = found.table.copy();
      this.#store({ id: found.id, table: found.table });
      this.disk.transferring = false;
      this.replica.onStateInstalled(found.id);
      return;
    }
    // If nobody has begun to give, the table is what it was.
    this.disk.transferring = this.#torn;
    this.replica.onStateFetchFailed('no donor gives it', !this.#torn);
  }

  /** A transfer has been handed to the port and has not ended. */
  get fetchStarted(): boolean {
    return this.#fetching !== null;
  }

  event(name: string): Event | undefined {
    return this.events.findLast((e) => e.name === name);
  }
}
