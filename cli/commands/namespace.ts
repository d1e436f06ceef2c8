/** Names and trees: ls, mkdir, rm, rmdir, mv, ln, readlink, tree, du. */
import { Option, type Command } from 'commander';
import type { FileSystem } from '../../client/file_system.ts';
import { FileChanged } from '../../client/errors.ts';
import { isFsError } from '../../client/fs_error.ts';
import { baseName, isRootPath, joinPath, parentPath, pathBytes, printable } from '../../client/paths.ts';
import type { Dirent, Stats } from '../../client/stats.ts';
import { connectionOptions, jsonOption, nonNegativeInteger, readingOptions, withFileSystem, type ConnectionOptions } from '../connected.ts';
import { Failed, Refused, UsageError } from '../failure.ts';
import { jsonName, jsonStats, longLine, sizeText } from '../format.ts';
import { note, print, printJson, type Io } from '../io.ts';
import { changeMode } from '../mode.ts';

const SET_ID = 0o6000;
const OWNER_WRITES = 0o300;

export function namespaceCommands(program: Command, io: Io): void {
  lsCommand(program, io);
  mkdirCommand(program, io);
  removeCommands(program, io);
  mvCommand(program, io);
  linkCommands(program, io);
  treeCommand(program, io);
  duCommand(program, io);
}

function lsCommand(program: Command, io: Io): void {
  const command = program.command('ls').description('list a directory').argument('[path]', 'directory or file', '/').option('-l, --long', 'with attributes');
  jsonOption(readingOptions(command)).addHelpText('after', '\nA time that no Date can show is printed as @<seconds since 1970>.\n\nExample:\n  vrfs ls -l /jobs').action(async (path: string, options: ConnectionOptions & { long?: boolean }) => {
    await withFileSystem(options, io, async (fs) => {
      const attributes = options.long === true || options.json === true;
      const entries = await entriesOf(fs, path, attributes);
      if (options.json === true) {
        await printJson(io, entries.map(({ entry, stats }) => ({ name: jsonName(entry), ...jsonStats(stats) })));
        return;
      }
      for (const { entry, stats } of entries) {
        if (options.long !== true) await print(io, printable(entry));
        else await print(io, longLine(stats, entry, stats.isSymbolicLink() ? await targetOf(fs, path, entry) : null));
      }
    });
  });
}

/** The entries of a directory, or the one file that `path` is. Stats only where `attributes`. */
async function entriesOf(fs: FileSystem, path: string, attributes: boolean): Promise<{ entry: Buffer; stats: Stats }[]> {
  const stats = await statOrLink(fs, path);
  if (!stats.isDirectory()) return [{ entry: pathBytes(path), stats: await fs.lstat(path) }];
  const out: { entry: Buffer; stats: Stats }[] = [];
  for await (const e of fs.opendir(path, { attributes })) out.push({ entry: e.nameBytes, stats: e.stats ?? stats });
  return out;
}

/** Of what a link leads to; of the link itself when that is nothing, as in ls(1). */
async function statOrLink(fs: FileSystem, path: string): Promise<Stats> {
  try {
    return await fs.stat(path);
  } catch (error) {
    if (isFsError(error, 'ENOENT')) return await fs.lstat(path);
    throw error;
  }
}

async function targetOf(fs: FileSystem, directory: string, name: Buffer): Promise<Buffer | null> {
  const path = name.includes('/') ? name : joinPath(pathBytes(directory), name);
  try {
    return await fs.readlink(path, { encoding: 'buffer' });
  } catch (error) {
    // Gone, or another thing, since it was listed.
    if (isFsError(error, 'ENOENT', 'EINVAL', 'ENOTDIR')) return null;
    throw error;
  }
}

function mkdirCommand(program: Command, io: Io): void {
  const command = program.command('mkdir').description('make directories').argument('<path...>')
    .option('-p, --parents', 'the missing ones above too; no error when it exists').option('-m, --mode <mode>', 'octal, or as in chmod on 0777; whatever the umask is');
  connectionOptions(command).addHelpText('after', '\nExample:\n  vrfs mkdir -p /jobs/7/output').action(async (paths: string[], options: ConnectionOptions & { parents?: boolean; mode?: string }) => {
    const plain = 0o777 & ~process.umask();
    const mode = options.mode === undefined ? plain : changeMode(options.mode, 0o777, true);
    const make = options.parents === true ? makeWithParents : makeDirectory;
    await withFileSystem(options, io, (fs) => eachPath(paths, io, (path) => make(fs, path, mode, plain)), 0);
  });
}

async function makeDirectory(fs: FileSystem, path: string, mode: number): Promise<void> {
  await fs.mkdir(path, { mode });
  // Which are not a directory's from the beginning, as with mkdir(2).
  if ((mode & SET_ID) !== 0) await fs.chmod(path, mode);
}

/** Those above as mkdir(1) makes them: not with `mode`, and so that what is to be in them can be made. */
async function makeWithParents(fs: FileSystem, path: string, mode: number, plain: number): Promise<void> {
  const parent = parentPath(pathBytes(path));
  try {
    await makeDirectory(fs, path, mode);
  } catch (error) {
    if (isFsError(error, 'EEXIST') && (await fs.stat(path)).isDirectory()) return;
    if (!isFsError(error, 'ENOENT') || isRootPath(parent)) throw error;
    await fs.mkdir(parent, { recursive: true, mode: plain | OWNER_WRITES });
    await makeWithParents(fs, path, mode, plain);
  }
}

function removeCommands(program: Command, io: Io): void {
  const rm = program.command('rm').description('remove files, and trees').argument('<path...>')
    .option('-r, --recursive', 'directories with all that is in them').option('-f, --force', 'no error when there is nothing');
  connectionOptions(rm).addHelpText('after', '\nExample:\n  vrfs rm -r /jobs/7').action(async (paths: string[], options: ConnectionOptions & { recursive?: boolean; force?: boolean }) => {
    if (paths.some((path) => isRootPath(pathBytes(path)))) throw new UsageError('the root itself cannot be removed: name what is in it, as vrfs rm -r /a /b. Nothing was done');
    await withFileSystem(options, io, (fs) => eachPath(paths, io, (path) => remove(fs, path, options)));
  });
  const rmdir = program.command('rmdir').description('remove empty directories').argument('<path...>');
  connectionOptions(rmdir).addHelpText('after', '\nExample:\n  vrfs rmdir /jobs').action(async (paths: string[], options: ConnectionOptions) => {
    await withFileSystem(options, io, (fs) => eachPath(paths, io, (path) => fs.rmdir(path)));
  });
}

async function remove(fs: FileSystem, path: string, options: { readonly recursive?: boolean; readonly force?: boolean }): Promise<void> {
  try {
    await fs.rm(path, { recursive: options.recursive === true, force: options.force === true });
  } catch (error) {
    if (options.recursive !== true && isFsError(error, 'EISDIR')) throw new Refused('EISDIR', `'${path}' is a directory: vrfs rm -r removes it with all that is in it, vrfs rmdir when it is empty`, { cause: error });
    throw error;
  }
}

/** Goes on after a refusal, as rm(1) and cat(1) do, and fails at the end. */
export async function eachPath(paths: readonly string[], io: Io, act: (path: string) => Promise<void>): Promise<void> {
  let failures = 0;
  for (const path of paths) {
    try {
      await act(path);
    } catch (error) {
      // With one path the error itself says all; and without an answer there is no going on.
      if (paths.length === 1 || !(isFsError(error) || error instanceof Refused || error instanceof FileChanged)) throw error;
      failures++;
      await note(io, `vrfs: ${error.message}`);
    }
  }
  if (failures > 0) throw new Failed(`${failures} of ${paths.length} failed`);
}

function mvCommand(program: Command, io: Io): void {
  const command = program.command('mv').description('rename; into a directory when the last path is one').usage('[options] <from...> <to>').argument('<paths...>', 'what to move, and where to')
    .option('-n, --no-clobber', 'EEXIST instead of replacing')
    .option('-T, --no-target-directory', 'the last path is the new name, even when it is a directory')
    .addOption(new Option('--exchange', 'both exist, and change places').conflicts(['clobber']));
  connectionOptions(command).addHelpText('after', '\nExamples:\n  vrfs mv /jobs/7/state.new /jobs/7/state\n  vrfs mv --exchange /site /site.next');
  command.action(async (paths: string[], options: ConnectionOptions & { clobber: boolean; targetDirectory: boolean; exchange?: boolean }) => {
    const from = paths.slice(0, -1);
    const to = paths.at(-1);
    if (to === undefined || from.length === 0) throw new UsageError('mv takes what to move and where to: vrfs mv <from...> <to>');
    const flags = options.exchange === true ? 'exchange' : options.clobber ? 'none' : 'noreplace';
    await withFileSystem(options, io, async (fs) => {
      const into = flags !== 'exchange' && options.targetDirectory && await isDirectory(fs, to);
      if (!into && from.length > 1) throw new UsageError(`'${to}' is not a directory: several files can only be moved into one`);
      await eachPath(from, io, (path) => fs.rename(path, into ? joinPath(pathBytes(to), baseName(pathBytes(path))) : to, { flags }));
    });
  });
}

async function isDirectory(fs: FileSystem, path: string): Promise<boolean> {
  try {
    return (await fs.stat(path)).isDirectory();
  } catch (error) {
    if (isFsError(error, 'ENOENT')) return false;
    throw error;
  }
}

function linkCommands(program: Command, io: Io): void {
  const ln = program.command('ln').description('link: another name for a file, or with -s a symbolic link').argument('<target>').argument('<path>').option('-s, --symbolic', 'a symbolic link');
  connectionOptions(ln).addHelpText('after', '\nExample:\n  vrfs ln -s /jobs/7 /latest').action(async (target: string, path: string, options: ConnectionOptions & { symbolic?: boolean }) => {
    await withFileSystem(options, io, (fs) => (options.symbolic === true ? fs.symlink(target, path) : fs.link(target, path)));
  });
  const readlink = program.command('readlink').description('where a symbolic link leads').argument('<path>');
  readingOptions(readlink).addHelpText('after', '\nExample:\n  vrfs readlink /latest').action(async (path: string, options: ConnectionOptions) => {
    await withFileSystem(options, io, async (fs) => { await print(io, printable(await fs.readlink(path, { encoding: 'buffer' }))); });
  });
}

interface TreeNode {
  readonly name: string | { readonly base64: string };
  readonly type: string;
  readonly entries?: TreeNode[];
}

function treeCommand(program: Command, io: Io): void {
  const command = program.command('tree').description('a directory and all below it').argument('[path]', 'directory', '/').option('-d, --depth <levels>', 'no deeper than this', nonNegativeInteger);
  jsonOption(readingOptions(command)).addHelpText('after', '\nExample:\n  vrfs tree --depth 2 /').action(async (path: string, options: ConnectionOptions & { depth?: number }) => {
    await withFileSystem(options, io, async (fs) => {
      const depth = options.depth ?? Infinity;
      if (options.json === true) {
        await printJson(io, await treeNodes(fs, pathBytes(path), depth));
        return;
      }
      const counts = { directories: 0, files: 0 };
      await print(io, path);
      await printTree(fs, io, pathBytes(path), '', depth, counts);
      await print(io, `\n${counts.directories} directories, ${counts.files} files`);
    });
  });
}

async function listing(fs: FileSystem, path: Buffer): Promise<Dirent[]> {
  const entries: Dirent[] = [];
  for await (const e of fs.opendir(path)) entries.push(e);
  return entries;
}

async function treeNodes(fs: FileSystem, path: Buffer, depth: number): Promise<TreeNode[]> {
  if (depth === 0) return [];
  const out: TreeNode[] = [];
  for (const e of await listing(fs, path)) {
    const node = { name: jsonName(e.nameBytes), type: e.type };
    out.push(e.isDirectory() ? { ...node, entries: await treeNodes(fs, joinPath(path, e.nameBytes), depth - 1) } : node);
  }
  return out;
}

async function printTree(fs: FileSystem, io: Io, path: Buffer, indent: string, depth: number, counts: { directories: number; files: number }): Promise<void> {
  if (depth === 0) return;
  const entries = await listing(fs, path);
  for (const [i, e] of entries.entries()) {
    const last = i === entries.length - 1;
    const at = joinPath(path, e.nameBytes);
    const target = e.isSymbolicLink() ? ` -> ${printable(await fs.readlink(at, { encoding: 'buffer' }))}` : '';
    await print(io, `${indent}${last ? '└── ' : '├── '}${printable(e.nameBytes)}${target}`);
    if (e.isDirectory()) {
      counts.directories++;
      await printTree(fs, io, at, indent + (last ? '    ' : '│   '), depth - 1, counts);
    } else {
      counts.files++;
    }
  }
}

interface Usage {
  /** As stored; a file with several names counts once. */
  bytes: number;
  inodes: number;
}

function duCommand(program: Command, io: Io): void {
  const command = program.command('du').description('space that trees take').argument('[path...]').option('-s, --summarize', 'only the total of each path');
  jsonOption(readingOptions(command)).addHelpText('after', '\nExample:\n  vrfs du -s /jobs /home');
  command.action(async (paths: string[], options: ConnectionOptions & { summarize?: boolean }) => {
    await withFileSystem(options, io, async (fs) => {
      const seen = new Set<number>();
      const rows: (Usage & { path: string })[] = [];
      for (const path of paths.length === 0 ? ['/'] : paths) {
        const total = await usageOf(fs, pathBytes(path), seen, async (at, usage) => {
          if (options.summarize !== true) rows.push({ path: printable(at), ...usage });
          await Promise.resolve();
        });
        if (options.summarize === true) rows.push({ path, ...total });
      }
      if (options.json === true) await printJson(io, rows);
      else for (const row of rows) await print(io, `${sizeText(row.bytes).padStart(12)}  ${row.path}`);
    });
  });
}

async function usageOf(fs: FileSystem, path: Buffer, seen: Set<number>, each: (path: Buffer, usage: Usage) => Promise<void>): Promise<Usage> {
  const stats = await fs.lstat(path);
  const usage: Usage = { bytes: 0, inodes: 0 };
  count(stats, usage, seen);
  if (stats.isDirectory()) {
    for await (const e of fs.opendir(path, { attributes: true })) {
      if (e.isDirectory()) {
        const below = await usageOf(fs, joinPath(path, e.nameBytes), seen, each);
        usage.bytes += below.bytes;
        usage.inodes += below.inodes;
      } else if (e.stats !== undefined) {
        count(e.stats, usage, seen);
      }
    }
  }
  await each(path, usage);
  return usage;
}

function count(stats: Stats, usage: Usage, seen: Set<number>): void {
  if (seen.has(stats.ino)) return;
  if (stats.nlink > 1 && !stats.isDirectory()) seen.add(stats.ino);
  usage.bytes += stats.blocks * 512;
  usage.inodes++;
}
