/** The version of this program, from its package.json, which lies above the sources and above the compiled files alike. */
import { existsSync, readFileSync } from 'node:fs';
import { z } from 'zod';

const Package = z.object({ version: z.string() });

function readVersion(): string {
  for (const path of ['../package.json', '../../package.json']) {
    const url = new URL(path, import.meta.url);
    if (existsSync(url)) return Package.parse(JSON.parse(readFileSync(url, 'utf8'))).version;
  }
  throw new Error('package.json is not where it belongs: install the program anew');
}

export const VERSION: string = readVersion();
