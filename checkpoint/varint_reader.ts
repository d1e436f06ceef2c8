/** LevelDB's variable-length integers: seven bits a byte, the lowest first. */

/** Where a block of a table lies. */
export interface Block {
  readonly offset: number;
  readonly length: number;
}

export class VarintReader {
  readonly #bytes: Buffer;
  readonly #end: number;
  at: number;

  constructor(bytes: Buffer, at: number, end: number) {
    this.#bytes = bytes;
    this.at = at;
    this.#end = end;
  }
  get done(): boolean {
    return this.at >= this.#end;
  }
  /** Null: it goes on behind the end. */
  next(): number | null {
    let value = 0;
    for (let scale = 1; this.at < this.#end; scale *= 128) {
      const byte = this.#bytes[this.at++] as number;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
    return null;
  }
  block(): Block | null {
    const offset = this.next();
    const length = this.next();
    return offset === null || length === null ? null : { offset, length };
  }
}
