/** Bytes that come in chunks of any length, gathered into pieces of one length. */
export class Pieces {
  readonly #bytes: number;
  #held: Uint8Array[] = [];
  #length = 0;

  constructor(bytes: number) {
    this.#bytes = bytes;
  }

  /** The pieces that are whole with this chunk, in memory of their own. */
  add(chunk: Uint8Array): Buffer[] {
    this.#held.push(chunk);
    this.#length += chunk.length;
    if (this.#length < this.#bytes) return [];
    const all = Buffer.concat(this.#held, this.#length);
    const whole: Buffer[] = [];
    let at = 0;
    for (; at + this.#bytes <= all.length; at += this.#bytes) whole.push(all.subarray(at, at + this.#bytes));
    this.#held = at < all.length ? [all.subarray(at)] : [];
    this.#length = all.length - at;
    return whole;
  }

  /** What is left at the end, shorter than a piece; null: nothing is. */
  rest(): Buffer | null {
    return this.#length === 0 ? null : Buffer.concat(this.#held, this.#length);
  }
}
