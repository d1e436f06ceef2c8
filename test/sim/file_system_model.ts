import { MemoryTable } from '../../lib/memory_table.ts';
import { formatNamespace } from '../../fsservice/records.ts';
import { FileSystemService } from '../../fsservice/service.ts';
import type { Entry } from '../../vr/entry.ts';
import type { SequentialModel } from '../checkers/sequential_model.ts';

export class FileSystemModel implements SequentialModel {
  readonly #service: FileSystemService;
  #time = 0;
  constructor() {
    const table = new MemoryTable();
    formatNamespace(table);
    this.#service = new FileSystemService(table);
  }
  execute(entry: Entry): Buffer {
    this.#time = entry.time;
    return this.#service.execute(entry);
  }
  sessionStarted(entry: Entry): void {
    this.#service.sessionStarted(entry, entry.body.readUInt32BE(16));
  }
  sessionEnded(entry: Entry, session: number): void {
    this.#service.sessionEnded(entry, session);
  }
  query(body: Buffer): Buffer {
    return this.#service.query(body, this.#time);
  }
}
