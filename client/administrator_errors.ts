/** Why a replica that was asked about the group, or to change it, gave no result: line.ts, administrator.ts. */
import type { RefusedCode } from '../vr/messages.ts';

/** Nobody answered in time. */
export class NoAnswer extends Error {
  override readonly name = 'NoAnswer';
}

/** The group will not have it. */
export class ChangeRefused extends Error {
  override readonly name = 'ChangeRefused';
  readonly code: RefusedCode;
  constructor(code: RefusedCode, reason: string) {
    super(reason);
    this.code = code;
  }
}
