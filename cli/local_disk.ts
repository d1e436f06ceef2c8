/** What a disk says to a command that works on a data directory, in words and with a remedy; whether another start may cure it is in the exit code. */
import { resolve } from 'node:path';
import { EnvironmentError, PassingError } from './failure.ts';

/** Errors that go when somebody makes room. */
const FULL: ReadonlySet<unknown> = new Set(['ENOSPC', 'EDQUOT']);
/** Those that another start meets again, for as long as nobody changes the machine. */
const DENIED: ReadonlySet<unknown> = new Set(['EACCES', 'EPERM', 'EROFS']);

/** Runs `act`, which works on `directory`. What says by itself what is wrong passes as it is. */
export async function onTheDiskOf<T>(directory: string, act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    throw inWords(resolve(directory), error);
  }
}

function inWords(directory: string, error: unknown): unknown {
  if (!(error instanceof Error) || !('code' in error)) return error;
  if (error.name === 'StoreOpenError') {
    if (error.code === 'full') return noRoom(directory, error);
    return error.code === 'denied' ? denied(directory, error.message, /Read-only file system/.test(error.message), error) : error;
  }
  // Only what the system itself says: errors with a name of their own (a port, a mount) have words of their own.
  if (error.name !== 'Error') return error;
  const path = 'path' in error && typeof error.path === 'string' ? error.path : directory;
  // A file in it is named by the message; what to do is to be done with all of it. The log file may be elsewhere.
  const where = path.startsWith(`${directory}/`) ? directory : path;
  if (FULL.has(error.code)) return noRoom(where, error);
  if (!DENIED.has(error.code)) return error;
  return denied(where, path === directory ? `${directory}: ${error.message}` : error.message, error.code === 'EROFS', error);
}

function noRoom(directory: string, cause: Error): PassingError {
  return new PassingError('ENOSPC', `the disk of ${directory} is full: ${cause.message}`, `make room on the file system of ${directory}, then start it again`, { cause });
}

function denied(path: string, message: string, readOnly: boolean, cause: Error): EnvironmentError {
  const remedy = readOnly
    ? `mount the file system of ${path} for writing (a disk with errors is made read-only by the kernel: see its log), or give another directory`
    : `give the user that runs this the right to write to ${path} (chown, chmod), or run it as the user to whom it belongs`;
  return new EnvironmentError(message, remedy, { cause });
}
