/** Running real programs on a mount: where it is, how they are called, what they must leave behind. */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { accessSync, constants, mkdtempSync } from 'node:fs';
import { lstat, mkdir, readdir, readFile, readlink, symlink, link, writeFile, chmod, utimes } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';

export const inCi = process.env['CI'] === 'true';

/** Where the program is; undefined when it is not installed. */
export function installed(program: string): boolean {
  return (process.env['PATH'] ?? '').split(':').some((folder) => {
    try {
      accessSync(path.join(folder, program), constants.X_OK);
      return true;
    } catch (error) {
      if (error instanceof Error && 'code' in error) return false;
      throw error;
    }
  });
}

export function temporaryFolder(name: string): string {
  return mkdtempSync(path.join(os.tmpdir(), `vrfs-${name}-`));
}

export interface RunOptions {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly input?: string;
}

/** Runs a program to its end. The value is what it wrote to stdout. @throws with all that it said when it fails */
export function run(program: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = execFile(program, [...args], { cwd: options.cwd, env: { ...process.env, ...options.env }, maxBuffer: 64 << 20, timeout: 240_000 }, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else reject(new Error(`${program} ${args.join(' ')}: ${error.message}\n${stdout}\n${stderr}`));
    });
    if (options.input !== undefined) child.stdin?.end(options.input);
  });
}

/** A tree with what trees have: nested folders, an empty file, a large one, odd names, modes, links of both kinds, old times. */
export async function makeTree(root: string): Promise<void> {
  await mkdir(path.join(root, 'a', 'b', 'c'), { recursive: true });
  await mkdir(path.join(root, 'empty folder'));
  await writeFile(path.join(root, 'empty'), '');
  await writeFile(path.join(root, 'a', 'text'), 'one\ntwo\nthree\n');
  await writeFile(path.join(root, 'a', 'b', 'large'), pattern(700_001));
  await writeFile(path.join(root, 'a', 'b', 'c', 'häßlich — 名前 \'"$`\\'), 'odd name');
  await writeFile(path.join(root, 'a', 'script.sh'), '#!/bin/sh\necho ran\n');
  await chmod(path.join(root, 'a', 'script.sh'), 0o755);
  await writeFile(path.join(root, 'a', 'private'), 'x');
  await chmod(path.join(root, 'a', 'private'), 0o600);
  await link(path.join(root, 'a', 'text'), path.join(root, 'a', 'b', 'hard link'));
  await symlink('../a/text', path.join(root, 'a', 'soft link'));
  await symlink('nowhere', path.join(root, 'dangling'));
  for (let i = 0; i < 40; i++) await writeFile(path.join(root, 'a', 'b', 'c', `file-${i}`), `content ${i}\n`.repeat(i));
  await utimes(path.join(root, 'a', 'text'), new Date('2020-01-02T03:04:05.678Z'), new Date('2001-09-09T01:46:40.123Z'));
  await utimes(path.join(root, 'empty folder'), new Date('2020-01-02T03:04:05.678Z'), new Date('1999-12-31T23:59:59.999Z'));
}

export function pattern(length: number): Buffer {
  const out = Buffer.alloc(length);
  for (let i = 0; i < length; i++) out[i] = (i * 31 + (i >>> 9)) & 0xff;
  return out;
}

/** One line an entry, sorted by path: type, mode, size or target, checksum; with times to the millisecond when asked. */
export async function describeTree(root: string, times: boolean): Promise<string[]> {
  const lines: string[] = [];
  const walk = async (relative: string): Promise<void> => {
    const full = path.join(root, relative);
    const s = await lstat(full);
    const time = times && !s.isSymbolicLink() ? ` ${Math.floor(s.mtimeMs)}` : '';
    const mode = (s.mode & 0o7777).toString(8);
    if (s.isSymbolicLink()) lines.push(`${relative} -> ${await readlink(full)}`);
    else if (s.isDirectory()) {
      lines.push(`${relative}/ ${mode}${time}`);
      for (const name of (await readdir(full)).sort()) await walk(path.join(relative, name));
    } else lines.push(`${relative} ${mode} ${s.nlink} ${s.size} ${createHash('sha256').update(await readFile(full)).digest('hex')}${time}`);
  };
  for (const name of (await readdir(root)).sort()) await walk(name);
  return lines;
}

/** Waits until a condition holds. @throws when it does not within the bound */
export async function eventually(what: string, holds: () => boolean | Promise<boolean>, withinMs = 20_000): Promise<void> {
  const until = performance.now() + withinMs;
  while (!(await holds())) {
    if (performance.now() > until) throw new Error(`not within ${withinMs} ms: ${what}`);
    await new Promise((resolve) => { setTimeout(resolve, 20); });
  }
}
