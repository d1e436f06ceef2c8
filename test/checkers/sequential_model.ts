/**
 * Every reply is what a plain sequential model gives for the committed order, and every read what it gives at the op
 * that the read says it shows. Reads of older states (a backup that is behind) are kept for one replay.
 */
import type { Entry } from '../../vr/entry.ts';
import { ensure } from './violation.ts';

/** A model of the application, fed the committed entries in order. It says what is wrong with a result, or null. */
export interface SequentialModel {
  /** `settled`: the application has no house-keeping left to do behind this entry. */
  execute(entry: Entry, result: Buffer, settled: boolean): string | null;
  sessionStarted(entry: Entry): void;
  sessionEnded(entry: Entry, session: number): void;
  query(body: Buffer, result: Buffer): string | null;
}

interface PastRead {
  readonly what: string;
  readonly op: number;
  readonly body: Buffer;
  readonly result: Buffer;
}

export class ReplyChecker {
  readonly #newModel: () => SequentialModel;
  readonly #model: SequentialModel;
  readonly #history: { readonly op: number; readonly apply: (model: SequentialModel) => void }[] = [];
  readonly #past: PastRead[] = [];
  #head = 0;

  constructor(newModel: () => SequentialModel) {
    this.#newModel = newModel;
    this.#model = newModel();
  }

  executed(entry: Entry, result: Buffer, settled: boolean): void {
    const wrong = this.#model.execute(entry, result, settled);
    this.#record(entry.op, (model) => model.execute(entry, result, settled));
    ensure(wrong === null, 'replies as the model', () => `op ${entry.op}: ${wrong}`);
  }
  sessionStarted(entry: Entry): void {
    this.#model.sessionStarted(entry);
    this.#record(entry.op, (model) => model.sessionStarted(entry));
  }
  sessionEnded(entry: Entry, session: number): void {
    this.#model.sessionEnded(entry, session);
    this.#record(entry.op, (model) => model.sessionEnded(entry, session));
  }

  read(what: string, op: number, body: Buffer, result: Buffer): void {
    if (op < this.#head) this.#past.push({ what, op, body, result });
    else this.#compare(this.#model, { what, op, body, result });
  }

  /** Checks the reads of older states, in one pass over the whole history. Returns how many there were. */
  replayPastReads(): number {
    if (this.#past.length === 0) return 0;
    const model = this.#newModel();
    let next = 0;
    for (const read of this.#past.sort((a, b) => a.op - b.op)) {
      for (let h = this.#history[next]; h !== undefined && h.op <= read.op; h = this.#history[++next]) h.apply(model);
      this.#compare(model, read);
    }
    return this.#past.length;
  }

  #record(op: number, apply: (model: SequentialModel) => void): void {
    this.#head = op;
    this.#history.push({ op, apply });
  }

  #compare(model: SequentialModel, read: PastRead): void {
    const wrong = model.query(read.body, read.result);
    ensure(wrong === null, 'reads as the model', () => `${read.what} at op ${read.op}: ${wrong}`);
  }
}
