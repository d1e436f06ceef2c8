/**
 * The ordered map from binary keys to binary values in which all application state lies. The state machine
 * (`fsservice`) and the client table (`vr`) are its users; `checkpoint` implements it over LevelDB, the tests
 * and the simulator in memory. Everything is synchronous: execution never waits.
 *
 * Keys order bytewise. Neither side may change a buffer after handing it over.
 */
export interface Table {
  get(key: Buffer): Buffer | undefined;
  put(key: Buffer, value: Buffer): void;
  delete(key: Buffer): void;
  /** Records with start <= key < end in key order, at most `limit` of them. */
  range(start: Buffer, end: Buffer, limit: number): TableRecord[];
}

export type TableRecord = readonly [key: Buffer, value: Buffer];
