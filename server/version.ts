/** The version of this program, from its package.json, which lies above the sources and above the compiled files alike. */
import { existsSync, readFileSync } from 'node:fs';

function readVersion(): string {
  for (const path of ['../package.json', '../../package.json']) {
    const url = new URL(path, import.meta.url);
    if (existsSync(url)) return versionIn(JSON.parse(readFileSync(url, 'utf8')));
  }
  throw new Error('package.json is not where it belongs: install the program anew');
}

function versionIn(manifest: unknown): string {
  if (typeof manifest === 'object' && manifest !== null && 'version' in manifest && typeof manifest.version === 'string') return manifest.version;
  throw new Error('package.json has no version: install the program anew');
}

export const VERSION: string = readVersion();
