/**
 * The last argument of the FileSystem's methods, in the shapes that Node's fs/promises take. From JavaScript any of Node's may come: what is not done
 * here must not be passed over, for who asked for it goes on as if it had been.
 */
import { inspect } from 'node:util';
import { InvalidCall } from './errors.ts';

/** fs.constants.COPYFILE_EXCL, and the wish for a copy on write, which Node fulfils by a plain copy too. */
const COPYFILE_EXCL = 1;
const COPYFILE_FICLONE = 2;

const anything = (): boolean => true;
const RETRIES = { maxRetries: anything, retryDelay: anything };

/** What is so anyway: a removal has nothing to try again, and a change is durable when it is answered. By call and option, the values. */
const FULFILLED: Readonly<Record<string, Readonly<Record<string, (value: unknown) => boolean>>>> = {
  rm: RETRIES,
  rmdir: RETRIES,
  readFile: { flag: (value) => value === 'r' },
  writeFile: { flush: anything },
  appendFile: { flush: anything, flag: (value) => value === 'a' },
  opendir: { bufferSize: anything, encoding: (value) => value === 'utf8' },
};

/** @throws InvalidCall for what is no object, and for an option that `call` does not have; one that asks for nothing is none. */
export function checkOptions(call: string, options: unknown, known: readonly string[]): void {
  // As Node, which looks for options in it and finds none: where the call is given to Array.map it is an index.
  if (typeof options === 'number' && known.length === 0) return;
  const has = known.length === 0 ? 'it takes none' : `there are ${known.join(', ')}`;
  if (typeof options !== 'object' || options === null) throw new InvalidCall(`${call} takes its options as an object, not ${inspect(options)}: ${has}`);
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined || value === null || value === false || known.includes(name) || FULFILLED[call]?.[name]?.(value) === true) continue;
    throw new InvalidCall(`${call} has no option '${name}': ${has}`);
  }
}

/** Node takes the encoding alone too, and null for none. */
export function withEncoding<O extends object>(options: O | BufferEncoding | 'buffer' | null): O {
  return (options === null ? {} : typeof options === 'string' ? { encoding: options } : options) as O;
}

/** Null: bytes. @throws InvalidCall */
export function encodingOf(encoding: unknown): BufferEncoding | null {
  if (encoding === undefined || encoding === null || encoding === 'buffer') return null;
  if (typeof encoding === 'string' && Buffer.isEncoding(encoding)) return encoding;
  throw new InvalidCall(`encoding ${inspect(encoding)} is not known: there are Node's, as 'utf8'`);
}

/** copyFile: Node's mode, a number, or an object. @throws InvalidCall */
export function isExclusiveCopy(options: number | { readonly exclusive?: boolean }): boolean {
  if (typeof options !== 'number') {
    checkOptions('copyFile', options, ['exclusive']);
    return options.exclusive === true;
  }
  if ((options & ~(COPYFILE_EXCL | COPYFILE_FICLONE)) !== 0 || !Number.isInteger(options)) throw new InvalidCall(`copyFile knows no mode ${options}: there is COPYFILE_EXCL (${COPYFILE_EXCL})`);
  return (options & COPYFILE_EXCL) !== 0;
}
