/** From whatever a command threw to a message and an exit code. */
import { CommanderError } from 'commander';
import { ChangeRefused, NoAnswer } from '../client/administrator_errors.ts';
import { errnoText, FsError } from '../client/fs_error.ts';
import { NotVerified, VrfsError, WrongArgument } from '../client/errors.ts';
import type { ErrnoName } from '../fsservice/errno.ts';
import { AssertionError } from '../lib/assert.ts';
import { MountError } from '../mount/binding.ts';
import { JoinError } from '../server/join_error.ts';
import { RevivalRefusedError } from '../server/revival_refused.ts';
import { ExitCode } from './exit_codes.ts';

/** Something about this machine or directory is in the way. */
export class EnvironmentError extends Error {
  override readonly name = 'EnvironmentError';
  readonly remedy: string;
  constructor(what: string, remedy: string, options?: ErrorOptions) {
    super(what, options);
    this.remedy = remedy;
  }
}

/** Something about this machine is in the way that may go, after which the same command does its work. */
export class PassingError extends Error {
  override readonly name = 'PassingError';
  readonly code: string;
  readonly remedy: string;
  constructor(code: string, what: string, remedy: string, options?: ErrorOptions) {
    super(what, options);
    this.code = code;
    this.remedy = remedy;
  }
}

/** An argument that commander could not know to be wrong. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** The command did its work and has something bad to say; it has said it already. */
export class Failed extends Error {
  override readonly name = 'Failed';
}

/** The user did not want to wait for an end, or for an orderly one. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted';
  readonly exitCode: typeof ExitCode.interrupted | typeof ExitCode.terminated;
  constructor(message: string, exitCode: Interrupted['exitCode'] = ExitCode.interrupted, options?: ErrorOptions) {
    super(message, options);
    this.exitCode = exitCode;
  }
}

/** Nobody takes what the command has to say: a full disk behind `>`. */
export class OutputError extends Error {
  override readonly name = 'OutputError';
  readonly code: string;
  constructor(error: NodeJS.ErrnoException) {
    super(`cannot write the output: ${error.message}`, { cause: error });
    this.code = error.code ?? 'OUTPUT';
  }
}

/** A refusal of the file system, told in the words of the command. */
export class Refused extends Error {
  override readonly name = 'Refused';
  readonly code: ErrnoName;
  constructor(code: ErrnoName, message: string, options?: ErrorOptions) {
    super(`${code}: ${message}`, options);
    this.code = code;
  }
}

/** What `act` throws about a part of the way names the command and the path that the user gave. */
export async function inTheWordsOf<T>(command: string, path: string, act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    if (error instanceof FsError) throw new Refused(error.code, `${errnoText(error.code)}, ${command} '${path}'`, { cause: error });
    throw error;
  }
}

export interface Failure {
  readonly exitCode: ExitCode;
  /** For programs: an errno name, or the kind of the error. */
  readonly code: string;
  readonly message: string;
  /** What to do. */
  readonly remedy?: string;
  /** It has been said already, or only as text. */
  readonly said?: 'all' | 'text';
}

/** Of what commander finds wrong. */
export const USAGE_REMEDY = '--help shows what there is';

export function failureOf(error: unknown): Failure {
  if (error instanceof CommanderError) {
    // Commander has printed what it has to say: help, the version, or (as text) what is wrong.
    if (error.exitCode === 0) return { exitCode: ExitCode.ok, code: error.code, message: error.message, said: 'all' };
    return { exitCode: ExitCode.usage, code: 'USAGE', message: error.message.replace(/^error: /, ''), remedy: USAGE_REMEDY, said: error.code === 'commander.help' ? 'all' : 'text' };
  }
  if (error instanceof Failed) return { exitCode: ExitCode.failed, code: 'FAILED', message: error.message, said: 'all' };
  if (error instanceof Interrupted) return { exitCode: error.exitCode, code: 'INTERRUPTED', message: error.message };
  if (error instanceof FsError || error instanceof Refused || error instanceof OutputError) return { exitCode: ExitCode.failed, code: error.code, message: error.message };
  if (error instanceof VrfsError) return ofVrfsError(error);
  if (error instanceof ChangeRefused) return { exitCode: ExitCode.failed, code: error.code, message: error.message };
  if (error instanceof NoAnswer || error instanceof JoinError) return { exitCode: ExitCode.unreachable, code: 'NotReachable', message: error.message };
  if (error instanceof UsageError || error instanceof WrongArgument) return { exitCode: ExitCode.usage, code: 'USAGE', message: error.message };
  if (error instanceof EnvironmentError || error instanceof MountError || error instanceof RevivalRefusedError) {
    return { exitCode: ExitCode.environment, code: 'ENVIRONMENT', message: error.message, remedy: error.remedy };
  }
  if (error instanceof PassingError) return { exitCode: ExitCode.failed, code: error.code, message: error.message, remedy: error.remedy };
  if (error instanceof AssertionError || !(error instanceof Error)) return internal(error);
  if (ENVIRONMENT_ERRORS.has(error.name)) return { exitCode: ExitCode.environment, code: 'ENVIRONMENT', message: error.message };
  // What a system call of this machine says, be it a broken disk or a full quota, is no fault of ours.
  if ('syscall' in error && 'code' in error && typeof error.code === 'string') return { exitCode: ExitCode.failed, code: error.code, message: error.message };
  return internal(error);
}

/** Of the server and the checkpoints: their messages name the remedy. */
const ENVIRONMENT_ERRORS = new Set(['DataDirectoryError', 'DirectoryLockedError', 'SuperblockDamagedError', 'ConfigError', 'ListenError', 'StoreOpenError', 'ForeignJournalError']);

function ofVrfsError(error: VrfsError): Failure {
  switch (error.name) {
    case 'NotReachable':
    case 'TimedOut':
    case 'Busy':
    case 'Behind': return { exitCode: ExitCode.unreachable, code: error.name, message: error.message };
    case 'InvalidCall': return { exitCode: ExitCode.usage, code: error.name, message: error.message };
    // The group has answered; it is the file that does not stand still.
    case 'FileChanged': return { exitCode: ExitCode.failed, code: 'EAGAIN', message: error.message };
    case 'NotVerified': return { exitCode: error instanceof NotVerified && error.code === 'noAgreement' ? ExitCode.unreachable : ExitCode.failed, code: error.name, message: error.message };
    default: return { exitCode: error.mayHaveHappened ? ExitCode.outcomeUnknown : ExitCode.unreachable, code: error.name, message: error.message };
  }
}

function internal(error: unknown): Failure {
  const text = error instanceof Error ? error.stack ?? error.message : String(error);
  return { exitCode: ExitCode.internal, code: 'INTERNAL', message: `a fault of vrfs: ${text}` };
}
