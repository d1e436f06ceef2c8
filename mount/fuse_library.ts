/**
 * Where libfuse.so.2 comes from, so that `npm ci` is all that has to be done. The addon of `fuse-native` names libfuse.so.2 as a library it needs; the package
 * `fuse-shared-library` ships it, under another name. The dynamic linker reads LD_LIBRARY_PATH only when a process starts: so the mount runs in a child process,
 * started with a folder in that variable in which libfuse.so.2 links to the shipped file.
 */
import { existsSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';

export interface FuseLibraryFolder {
  /** For the child's environment. */
  readonly environment: { readonly LD_LIBRARY_PATH?: string };
  /** Once the child has loaded the library (or has ended). */
  remove(): void;
}

/** The shipped libfuse 2.9, or null where none is shipped for this machine (then the system's own has to do). */
export function shippedLibrary(): string | null {
  if (process.platform !== 'linux' || process.arch !== 'x64') return null;
  const fuseNative = createRequire(import.meta.url).resolve('fuse-native/package.json');
  const { lib } = createRequire(fuseNative)('fuse-shared-library') as { readonly lib: string };
  return existsSync(lib) ? lib : null;
}

/** A folder of our own with a random name: nobody else can put a library there. */
export function makeLibraryFolder(library = shippedLibrary()): FuseLibraryFolder {
  if (library === null) return { environment: {}, remove: () => undefined };
  const folder = mkdtempSync(path.join(os.tmpdir(), 'vrfs-libfuse-'));
  symlinkSync(library, path.join(folder, 'libfuse.so.2'));
  const inherited = process.env['LD_LIBRARY_PATH'];
  return {
    environment: { LD_LIBRARY_PATH: inherited === undefined || inherited === '' ? folder : `${folder}:${inherited}` },
    remove: () => { rmSync(folder, { recursive: true, force: true }); },
  };
}
