/** A Table in memory: a map beside a sorted key list. For tests and the simulator. */
import { byCodeUnit, lowerBound } from './sorted.ts';
import { ByteTable, type TableRecord } from './table.ts';

interface Slot {
  readonly key: Buffer;
  value: Buffer;
}

export class MemoryTable extends ByteTable {
  readonly #slots = new Map<string, Slot>();
  // Sorted latin1 keys (code units order as bytes do); rebuilt lazily after inserts and deletes.
  #sorted: string[] | null = [];

  get size(): number {
    return this.#slots.size;
  }

  get(key: Buffer): Buffer | undefined {
    return this.#slots.get(key.latin1Slice(0, key.length))?.value;
  }

  put(key: Buffer, value: Buffer): void {
    const id = key.latin1Slice(0, key.length);
    const slot = this.#slots.get(id);
    if (slot !== undefined) {
      slot.value = value;
      return;
    }
    this.#slots.set(id, { key, value });
    this.#insert(id);
  }

  delete(key: Buffer): void {
    const id = key.latin1Slice(0, key.length);
    if (!this.#slots.delete(id)) return;
    const sorted = this.#sorted;
    if (sorted === null) return;
    const at = lowerBound(sorted, id);
    if (sorted[at] === id) sorted.splice(at, 1);
  }

  range(start: Buffer, end: Buffer, limit: number): TableRecord[] {
    const sorted = this.#keys();
    const stop = end.latin1Slice(0, end.length);
    const out: TableRecord[] = [];
    for (let i = lowerBound(sorted, start.latin1Slice(0, start.length)); i < sorted.length && out.length < limit; i++) {
      const id = sorted[i] as string;
      if (id >= stop) break;
      const slot = this.#slots.get(id) as Slot;
      out.push([slot.key, slot.value]);
    }
    return out;
  }

  *entries(): IterableIterator<TableRecord> {
    for (const id of this.#keys()) {
      const slot = this.#slots.get(id) as Slot;
      yield [slot.key, slot.value];
    }
  }

  clone(): MemoryTable {
    const copy = new MemoryTable();
    for (const [id, slot] of this.#slots) copy.#slots.set(id, { key: slot.key, value: slot.value });
    copy.#sorted = this.#sorted === null ? null : this.#sorted.slice();
    return copy;
  }

  #keys(): string[] {
    this.#sorted ??= [...this.#slots.keys()].sort(byCodeUnit);
    return this.#sorted;
  }

  #insert(id: string): void {
    const sorted = this.#sorted;
    if (sorted === null) return;
    if (sorted.length === 0 || id > (sorted[sorted.length - 1] as string)) sorted.push(id);
    else sorted.splice(lowerBound(sorted, id), 0, id);
  }
}
