/** The plain file system of test/checkers as the model of a simulation. */
import { assert } from '../../lib/assert.ts';
import { decodeCall, decodeResult } from '../../fsservice/operation_codec.ts';
import type { Call, OperationType, Result } from '../../fsservice/operations.ts';
import { decodeRegisterBody } from '../../vr/client_table.ts';
import type { Entry } from '../../vr/entry.ts';
import { checkResult } from '../checkers/compare_results.ts';
import { ModelFileSystem } from '../checkers/model_fs.ts';
import type { SequentialModel } from '../checkers/sequential_model.ts';

export class FileSystemModel implements SequentialModel {
  readonly #model = new ModelFileSystem();
  #settled = true;
  #op = 0;
  #time = 0;

  execute(entry: Entry, result: Buffer, settled: boolean): string | null {
    this.#op = entry.op;
    this.#time = entry.time;
    const wrong = this.#check(entry.body, result, entry.session, settled);
    this.#settled = settled;
    if (settled) this.#model.settled();
    return wrong;
  }

  sessionStarted(entry: Entry): void {
    const body = decodeRegisterBody(entry.body);
    assert(body.ok, 'a committed registration decodes');
    this.#model.sessionStarted(entry.op, body.value.flags);
  }

  sessionEnded(_entry: Entry, session: number): void {
    this.#model.sessionEnded(session);
    // Whether anything became free by that, the next operation tells.
    this.#settled = false;
  }

  query(body: Buffer, result: Buffer): string | null {
    return this.#check(body, result, 0, this.#settled);
  }

  #check(body: Buffer, result: Buffer, session: number, settled: boolean): string | null {
    const call = decodeCall(body);
    if (!call.ok) return `an operation that does not decode: ${call.reason}`;
    const type: OperationType = call.value.operation.type;
    const decoded = decodeResult(type, result);
    if (!decoded.ok) return `a result of ${type} that does not decode: ${decoded.reason}`;
    return checkResult(this.#model, call.value as Call, { op: this.#op, time: this.#time, session }, decoded.value as Result<OperationType>, settled);
  }
}
