import type { OpNumber } from '../lib/ids.ts';
import type { VrfsError } from './errors.ts';

/** Takes the outcome of one operation: exactly one of the two, once. For callers to whom a promise per operation is too much. */
export interface Completion {
  /** `result`: for fsservice's decodeResult. `op`: where in the log it was executed, or what a read includes. */
  completed(result: Buffer, op: OpNumber): void;
  failed(error: VrfsError): void;
}
