/**
 * Reads all that a tree names, and compares every node and every record with what stands above it. The tree of a checkpoint, whose top hashes
 * to its root, is whole when nothing differs: then these records are that checkpoint.
 */
import { EMPTY } from '../lib/bytes.ts';
import { PAGE } from './hashes.ts';
import { decodeInner, innerId, nodeId, type Child } from './inner_node.ts';
import { slotBits, slotPrefix } from './key_bits.ts';
import type { KeyValueStore } from './key_value_store.ts';
import type { NodeSource, Top } from './merkle_tree.ts';
import { pageEntries } from './page.ts';
import type { Slices } from './slices.ts';
import { StoreDamageError } from './store_damage.ts';
import { nodeKey, recordKeyOf } from './store_keys.ts';
import { auditedNodeThere, checkedNode } from './stored_node.ts';
import { isRecord } from './verified_reads.ts';

export function sourceOf(store: KeyValueStore): NodeSource {
  return (id, hash) => checkedNode(id, hash, store.getSync(nodeKey(id)));
}

/** More of them are no accident of the database's order, and for each all tables are compared with their checksums. */
const MAX_SETTLED = 16;

interface Place {
  readonly child: Child;
  readonly id: string;
}

/** What was read of a tree, and how much of it was damaged or missing. */
export class Inspection {
  readonly #store: KeyValueStore;
  readonly #slices: Slices;
  #settled = 0;
  nodes = 0;
  records = 0;
  damagedNodes = 0;
  databaseErrors = 0;
  /** Keys of the records that are not what their pages say. */
  readonly damaged: Buffer[] = [];

  constructor(store: KeyValueStore, slices: Slices) {
    this.#store = store;
    this.#slices = slices;
  }

  async run(top: Top): Promise<this> {
    if (top === null) return this;
    const todo: Place[] = [top.kind === 'page' ? { child: top, id: nodeId(PAGE, EMPTY, 0) } : { child: top, id: innerId(top) }];
    for (let place = todo.pop(); place !== undefined; place = todo.pop()) {
      if (this.#slices.over) await this.#slices.giveWay();
      const node = await this.#node(place);
      if (node === null) continue;
      if (place.child.kind === 'page') await this.#page(node);
      else for (const below of placesBelow(node)) todo.push(below);
    }
    return this;
  }

  async #node({ id, child }: Place): Promise<Buffer | null> {
    this.nodes++;
    const key = nodeKey(id);
    const [stored] = await this.#read([key]);
    const node = auditedNodeThere(id, child.hash, stored) ?? auditedNodeThere(id, child.hash, await this.#again(key));
    if (node === null) this.damagedNodes++;
    return node;
  }

  /** What the database has at a key whose value is not what the tree says, once that has been settled; undefined: that is not to be. */
  async #again(key: Buffer): Promise<Buffer | undefined> {
    if (this.#settled++ >= MAX_SETTLED) return undefined;
    try {
      await this.#store.settle(key);
    } catch (error) {
      if (!(error instanceof StoreDamageError)) throw error;
      return undefined;
    }
    const [value] = await this.#read([key]);
    return value;
  }

  async #page(page: Buffer): Promise<void> {
    const entries = pageEntries(page);
    const values = await this.#read(entries.map(({ key }) => recordKeyOf(key)));
    for (const [i, { key, hash }] of entries.entries()) {
      this.records++;
      const wanted = hash.latin1Slice();
      if (!isRecord(key, wanted, values[i]) && !isRecord(key, wanted, await this.#again(recordKeyOf(key)))) this.damaged.push(Buffer.from(key));
    }
  }

  /** All at once; when the database refuses that, one after the other, without those that it refuses. */
  async #read(keys: Buffer[]): Promise<(Buffer | undefined)[]> {
    try {
      return await this.#store.getMany(keys);
    } catch (error) {
      if (!(error instanceof StoreDamageError)) throw error;
    }
    return keys.map((key) => {
      try {
        return this.#store.getSync(key);
      } catch (error) {
        if (!(error instanceof StoreDamageError)) throw error;
        this.databaseErrors++;
        return undefined;
      }
    });
  }
}

function placesBelow(bytes: Buffer): Place[] {
  const { slots, prefix, nibbles } = decodeInner(bytes);
  const places: Place[] = [];
  for (const [slot, child] of slots.entries()) {
    if (child === null) continue;
    places.push({ child, id: child.kind === 'inner' ? innerId(child) : nodeId(PAGE, slotPrefix(prefix, nibbles, slot), slotBits(nibbles, child.span)) });
  }
  return places;
}
