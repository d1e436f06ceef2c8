/** What the kernel says is mounted where (/proc/self/mountinfo), and taking a mount away. */
import { execFile } from 'node:child_process';
import { readFileSync, readlinkSync, realpathSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { MountError } from './binding.ts';
import type { MountLog } from './binding.ts';
import { isMountSource, isRoot } from './mount_options.ts';

const run = promisify(execFile);

export interface MountEntry {
  readonly mountpoint: string;
  readonly type: string;
  readonly source: string;
}

/** The lines of a mountinfo file (proc(5)), outermost first. */
export function parseMountInfo(text: string): MountEntry[] {
  const entries: MountEntry[] = [];
  for (const line of text.split('\n')) {
    const [before, after] = line.split(' - ');
    const mountpoint = before?.split(' ')[4];
    const [type, source] = after?.split(' ') ?? [];
    if (mountpoint === undefined || type === undefined || source === undefined) continue;
    entries.push({ mountpoint: unescapeOctal(mountpoint), type, source: unescapeOctal(source) });
  }
  return entries;
}

/** Blanks, tabs, newlines and backslashes are written as three octal digits. */
function unescapeOctal(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}

/** The topmost mount exactly at a path, or where that leads, if any. Reads no file below the path, so that it answers for a dead mount too. */
export function mountAt(mountpoint: string): MountEntry | undefined {
  const wanted = resolveMountpoint(mountpoint);
  return parseMountInfo(readFileSync('/proc/self/mountinfo', 'utf8')).findLast((entry) => entry.mountpoint === wanted);
}

export function isOurs(entry: MountEntry): boolean {
  return isMountSource(entry.source) && entry.type.startsWith('fuse');
}

/** Whether the topmost mount at a path is ours; `source`: whether it is that one (`mountSource`). */
export function isMounted(mountpoint: string, source?: string): boolean {
  const entry = mountAt(mountpoint);
  return entry !== undefined && isOurs(entry) && (source === undefined || entry.source === source);
}

/** As many as the kernel follows. */
const LINKS_MAX = 40;

/**
 * The path that a mountpoint has in the mount table: symbolic links are followed, the last component's too, as mount(2) does it. Of the last component nothing is asked but where it leads
 * (readlink(2) does not go into what is mounted there), because a dead mount answers no call, and one whose group is away none in time.
 * @throws MountError where the links go round
 */
export function resolveMountpoint(mountpoint: string): string {
  let given = path.resolve(mountpoint);
  for (let links = 0; links <= LINKS_MAX; links++) {
    const place = resolveParent(given);
    const target = linkTarget(place);
    if (target === undefined) return place;
    given = target.startsWith('/') ? target : `${path.dirname(place)}/${target}`;
  }
  throw new MountError(`${mountpoint} is one of more than ${LINKS_MAX} symbolic links that lead to each other`, `see where it leads (namei ${mountpoint}), or choose another mountpoint`);
}

/** Everything but the last component is resolved; where that is not there yet, nothing. */
function resolveParent(absolute: string): string {
  try {
    return path.join(realpathSync.native(path.dirname(absolute)), path.basename(absolute));
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return path.resolve(absolute);
    throw error;
  }
}

/** Where a symbolic link leads; undefined for what is none, or is not there. */
function linkTarget(place: string): string | undefined {
  try {
    return readlinkSync(place);
  } catch (error) {
    const code = codeOf(error);
    if (code === 'EINVAL' || code === 'ENOENT') return undefined;
    throw error;
  }
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined;
}

/**
 * Takes the mount of that source at a path away: politely; when programs hold it, by force: their calls fail from then on (ENOTCONN, ENODEV), and it leaves the tree at once. Nothing
 * to do where something else is mounted, which may have come in its place meanwhile.
 * @throws MountError when the kernel refuses both
 */
export async function unmountTree(mountpoint: string, source: string, log: MountLog, system: UnmountSystem = SYSTEM): Promise<void> {
  if (!system.isMounted(mountpoint, source)) return;
  const target = resolveMountpoint(mountpoint);
  const root = system.isRoot();
  const attempts = root ? umounts('-c', target) : [['fusermount3', '-u', target], ['fusermount', '-u', target], ['fusermount3', '-u', '-z', target], ['fusermount', '-u', '-z', target]];
  const reasons: string[] = [];
  for (let next = attempts.shift(); next !== undefined; next = attempts.shift()) {
    const [command = '', ...args] = next;
    try {
      await system.run(command, args);
      return;
    } catch (error) {
      const said = error instanceof Error && 'stderr' in error ? String(error.stderr).trim() : '';
      reasons.push(said === '' ? String(error) : said);
      if (!system.isMounted(mountpoint, source)) return;
      log.warn({ mountpoint: target, command, args, said }, 'could not unmount this way, trying the next');
      if (args.includes('-c') && UNKNOWN_OPTION.test(said)) attempts.splice(0, Infinity, ...umounts(null, target));
    }
  }
  throw new MountError(`${target} cannot be unmounted: ${reasons.join('; ')}`, `end the programs that use it (fuser -vm ${target}), then: ${root ? 'umount' : 'fusermount -u'} ${target}`);
}

/** What unmounts, and tells whether it is done; for tests. */
export interface UnmountSystem {
  readonly run: (command: string, args: readonly string[]) => Promise<unknown>;
  readonly isMounted: (mountpoint: string, source: string) => boolean;
  readonly isRoot: () => boolean;
}

const SYSTEM: UnmountSystem = { run, isMounted, isRoot };

/** Without -c a umount looks at the path once more, and waits for a mount whose group is away. */
function umounts(unasked: '-c' | null, target: string): string[][] {
  const first = unasked === null ? ['umount'] : ['umount', unasked];
  return [[...first, target], [...first, '-f', target], [...first, '-l', target]];
}

/** How BusyBox and toybox, which do not have -c, say so. */
const UNKNOWN_OPTION = /(unrecognized|unknown|invalid) option|usage:/i;
