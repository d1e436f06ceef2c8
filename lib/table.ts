/**
 * The ordered map from binary keys to binary values in which all application state lies. The state machine
 * (`fsservice`) and the client table (`vr`) are its users; `checkpoint` implements it over LevelDB, the tests
 * and the simulator in memory. Everything is synchronous: execution never waits.
 *
 * Keys order bytewise. Neither side may change a buffer or a value after handing it over.
 */
export interface Table {
  get(key: Buffer): Buffer | undefined;
  put(key: Buffer, value: Buffer): void;
  delete(key: Buffer): void;
  /** Records with start <= key < end in key order, at most `limit` of them. */
  range(start: Buffer, end: Buffer, limit: number): TableRecord[];

  // For the records that most operations read and write. `id` is the key as a latin1 string.

  /** The record decoded: as it was stored, or as `decode` makes it of its bytes. All records of a kind of key have one decoder. */
  find<T extends RecordValue>(id: string, decode: (bytes: Buffer) => T): T | undefined;
  /** `put` of a value whose bytes are made when somebody wants them: a checkpoint, mostly. */
  store(id: string, value: RecordValue): void;
}

export type TableRecord = readonly [key: Buffer, value: Buffer];

/** The value of a record before it is bytes. */
export interface RecordValue {
  /** Of what `encode` gives. */
  readonly byteLength: number;
  encode(): Buffer;
}

/** A table that keeps bytes and nothing else. */
export abstract class ByteTable implements Table {
  abstract get(key: Buffer): Buffer | undefined;
  abstract put(key: Buffer, value: Buffer): void;
  abstract delete(key: Buffer): void;
  abstract range(start: Buffer, end: Buffer, limit: number): TableRecord[];

  find<T extends RecordValue>(id: string, decode: (bytes: Buffer) => T): T | undefined {
    const bytes = this.get(Buffer.from(id, 'latin1'));
    return bytes === undefined ? undefined : decode(bytes);
  }

  store(id: string, value: RecordValue): void {
    this.put(Buffer.from(id, 'latin1'), value.encode());
  }
}
