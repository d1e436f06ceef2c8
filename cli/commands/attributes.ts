/** Attributes: chmod, chown, xattr, statfs. */
import { isUtf8 } from 'node:buffer';
import type { Command } from 'commander';
import type { FileSystem } from '../../client/file_system.ts';
import { joinPath, pathBytes } from '../../client/paths.ts';
import { connectionOptions, jsonOption, readingOptions, withFileSystem, type ConnectionOptions } from '../connected.ts';
import { UsageError } from '../failure.ts';
import { sizeText, table } from '../format.ts';
import { print, printJson, write, type Io } from '../io.ts';
import { changeMode } from '../mode.ts';
import { eachPath } from './namespace.ts';

export function attributeCommands(program: Command, io: Io): void {
  const chmod = program.command('chmod').description('change permissions').argument('<mode>', 'octal (644) or clauses (u+x,go-w); without u, g, o or a (+w) for all, as far as the umask allows it').argument('<path...>').option('-R, --recursive', 'everything below too');
  connectionOptions(chmod).addHelpText('after', '\nExample:\n  vrfs chmod -R go-w /jobs').action(async (mode: string, paths: string[], options: ConnectionOptions & { recursive?: boolean }) => {
    changeMode(mode, 0, false);
    await withFileSystem(options, io, (fs) => eachPath(paths, io, (path) => walk(fs, pathBytes(path), options.recursive === true, async (at, isLink) => {
      // The mode of a symbolic link means nothing, and chmod(1) -R leaves its target alone.
      if (isLink && options.recursive === true) return;
      const stats = await fs.stat(at);
      await fs.chmod(at, changeMode(mode, stats.attributes.mode, stats.isDirectory()));
    })));
  });

  const chown = program.command('chown').description('change owner and group').argument('<owner>', 'uid, uid:gid or :gid').argument('<path...>').option('-R, --recursive', 'everything below too');
  connectionOptions(chown).addHelpText('after', '\nExample:\n  vrfs chown -R 1000:1000 /home/ann').action(async (owner: string, paths: string[], options: ConnectionOptions & { recursive?: boolean }) => {
    const { uid, gid } = parseOwner(owner);
    await withFileSystem(options, io, (fs) => eachPath(paths, io, (path) => walk(fs, pathBytes(path), options.recursive === true, (at) => (options.recursive === true ? fs.lchown(at, uid, gid) : fs.chown(at, uid, gid)))));
  });

  xattrCommands(program, io);

  const statfs = program.command('statfs').description('size of the namespace, and its limits');
  jsonOption(readingOptions(statfs)).addHelpText('after', '\nExample:\n  vrfs statfs --json').action(async (options: ConnectionOptions) => {
    await withFileSystem(options, io, async (fs) => {
      const s = await fs.statfs();
      if (options.json === true) await printJson(io, s);
      else {
        await print(io, table([
          ['', 'used', 'limit'],
          ['inodes', String(s.inodes), String(s.maxInodes)],
          ['content', sizeText(s.bytes), sizeText(s.maxBytes)],
          ['unlinked but open', String(s.orphans), ''],
        ]));
      }
    });
  });
}

/** -1: leave it as it is. @throws UsageError */
export function parseOwner(text: string): { readonly uid: number; readonly gid: number } {
  const match = /^(\d+)?(?::(\d+))?$/.exec(text);
  const uid = match?.[1];
  const gid = match?.[2];
  if (uid === undefined && gid === undefined) throw new UsageError(`'${text}' is not an owner: give uid, uid:gid or :gid as numbers (the namespace knows no names)`);
  const ids = { uid: uid === undefined ? -1 : Number(uid), gid: gid === undefined ? -1 : Number(gid) };
  if (ids.uid >= 0xffff_ffff || ids.gid >= 0xffff_ffff) throw new UsageError(`'${text}': ids are below 4294967295`);
  return ids;
}

/** `path`, and with `recursive` everything below it, directories before what is in them. */
async function walk(fs: FileSystem, path: Buffer, recursive: boolean, act: (path: Buffer, isLink: boolean) => Promise<void>): Promise<void> {
  const stats = await fs.lstat(path);
  await act(path, stats.isSymbolicLink());
  if (!recursive || !stats.isDirectory()) return;
  for await (const e of fs.opendir(path)) {
    const at = joinPath(path, e.nameBytes);
    if (e.isDirectory()) await walk(fs, at, true, act);
    else await act(at, e.isSymbolicLink());
  }
}

function xattrCommands(program: Command, io: Io): void {
  const xattr = program.command('xattr').description('extended attributes');
  const list = xattr.command('list').description('names of the attributes of a file').argument('<path>');
  jsonOption(readingOptions(list)).addHelpText('after', '\nExample:\n  vrfs xattr list /jobs/7').action(async (path: string, options: ConnectionOptions) => {
    await withFileSystem(options, io, async (fs) => {
      const names = await fs.listxattr(path);
      if (options.json === true) await printJson(io, names);
      else for (const name of names) await print(io, name);
    });
  });
  const get = xattr.command('get').description('the value of one').argument('<path>').argument('<name>', 'with its namespace, as user.note');
  jsonOption(readingOptions(get)).addHelpText('after', '\nExample:\n  vrfs xattr get /jobs/7 user.note').action(async (path: string, name: string, options: ConnectionOptions) => {
    await withFileSystem(options, io, async (fs) => {
      const value = await fs.getxattr(path, name);
      if (options.json === true) await printJson(io, { name, value: isUtf8(value) ? value.toString('utf8') : { base64: value.toString('base64') } });
      else await write(io.stdout, Buffer.concat([value, Buffer.from('\n')]));
    });
  });
  const set = xattr.command('set').description('set one').argument('<path>').argument('<name>').argument('<value>');
  connectionOptions(set).addHelpText('after', '\nExample:\n  vrfs xattr set /jobs/7 user.note "runs on Tuesday"').action(async (path: string, name: string, value: string, options: ConnectionOptions) => {
    await withFileSystem(options, io, (fs) => fs.setxattr(path, name, value));
  });
  const rm = xattr.command('rm').description('remove one').argument('<path>').argument('<name>');
  connectionOptions(rm).addHelpText('after', '\nExample:\n  vrfs xattr rm /jobs/7 user.note').action(async (path: string, name: string, options: ConnectionOptions) => {
    await withFileSystem(options, io, (fs) => fs.removexattr(path, name));
  });
}
