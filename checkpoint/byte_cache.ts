/**
 * A bounded cache of byte strings, or of what they decode to, in two generations: new and used entries are in the young one; when it has half of
 * the bytes allowed it becomes the old one, and what was not used since is forgotten. No lists, no clocks.
 */
const ENTRY_OVERHEAD = 200;

export class ByteCache<V extends { readonly byteLength: number } = Buffer> {
  readonly #half: number;
  readonly #beside: (id: string, bytes: V) => number;
  #young = new Map<string, V>();
  #old = new Map<string, V>();
  #youngBytes = 0;
  #oldBytes = 0;

  /**
   * `limit` in bytes, of keys and values and about what a map entry takes.
   * @param beside bytes that others keep in memory as long as the value of this key is there
   */
  constructor(limit: number, beside: (id: string, bytes: V) => number = () => 0) {
    this.#half = limit / 2;
    this.#beside = beside;
  }

  #weight(id: string, bytes: V): number {
    return id.length + bytes.byteLength + ENTRY_OVERHEAD + this.#beside(id, bytes);
  }

  get bytes(): number {
    return this.#youngBytes + this.#oldBytes;
  }
  get size(): number {
    return this.#young.size + this.#old.size;
  }

  get(id: string): V | undefined {
    const young = this.#young.get(id);
    if (young !== undefined) return young;
    const old = this.#old.get(id);
    if (old === undefined) return undefined;
    this.set(id, old);
    return old;
  }

  set(id: string, bytes: V): void {
    const young = this.#young.get(id);
    if (young === undefined) this.#deleteOld(id);
    else this.#youngBytes -= this.#weight(id, young);
    this.#young.set(id, bytes);
    this.#youngBytes += this.#weight(id, bytes);
    if (this.#youngBytes <= this.#half) return;
    this.#old = this.#young;
    this.#oldBytes = this.#youngBytes;
    this.#young = new Map();
    this.#youngBytes = 0;
  }

  delete(id: string): void {
    const young = this.#young.get(id);
    if (young === undefined) {
      this.#deleteOld(id);
      return;
    }
    this.#young.delete(id);
    this.#youngBytes -= this.#weight(id, young);
  }

  #deleteOld(id: string): void {
    const old = this.#old.get(id);
    if (old === undefined) return;
    this.#old.delete(id);
    this.#oldBytes -= this.#weight(id, old);
  }

  clear(): void {
    this.#young = new Map();
    this.#old = new Map();
    this.#youngBytes = 0;
    this.#oldBytes = 0;
  }
}
