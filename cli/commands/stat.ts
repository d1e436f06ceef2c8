/** `vrfs stat`, and with --verify what is proved against a root that a quorum has. */
import type { Command } from 'commander';
import type { VrfsClient } from '../../client/client.ts';
import { processCredentials } from '../../client/file_system.ts';
import { printable } from '../../client/paths.ts';
import type { Stats } from '../../client/stats.ts';
import type { VerifiedStat } from '../../client/verified_stat.ts';
import { defined } from '../../lib/assert.ts';
import { digestToHex } from '../../lib/hash.ts';
import { askedAhead } from '../asked_ahead.ts';
import { jsonOption, readingOptions, withClient, withFileSystem, type ConnectionOptions } from '../connected.ts';
import { Failed, UsageError } from '../failure.ts';
import { jsonName, jsonStats, modeText, octal, timeText } from '../format.ts';
import { note, print, printJson, type Io } from '../io.ts';
import { eachPath } from './namespace.ts';

interface StatOptions extends ConnectionOptions {
  readonly dereference?: boolean;
  readonly verify?: boolean;
}

export function statCommand(program: Command, io: Io): void {
  const command = program.command('stat').description('attributes of files').argument('<path...>').option('-L, --dereference', 'follow symbolic links')
    .option('--verify', 'as of a checkpoint, proved against a root that a quorum of the members has; exit code 1 when a proof is wrong, or proves that there is nothing');
  jsonOption(readingOptions(command)).addHelpText('after', '\nA time that no Date can show is printed as @<seconds since 1970>.\n\nExamples:\n  vrfs stat --json /jobs/7\n  vrfs stat --verify /jobs/7').action(async (paths: string[], options: StatOptions) => {
    if (options.verify === true) {
      if (options.maxStaleness !== undefined) throw new UsageError('--verify shows the state at a checkpoint, and how old that is: leave out --max-staleness');
      if (options.dereference === true) throw new UsageError('--verify follows no symbolic links: leave out --dereference');
      await withClient(options, io, (client) => verify(client, paths, options, io));
      return;
    }
    await withFileSystem(options, io, async (fs) => {
      const found: object[] = [];
      const next = askedAhead(paths, (path) => (options.dereference === true ? fs.stat(path) : fs.lstat(path)));
      try {
        await eachPath(paths, io, async (path) => {
          const stats = await next();
          if (options.json === true) found.push({ path, ...jsonStats(stats) });
          else await print(io, statText(path, stats));
        });
      } finally {
        if (options.json === true && found.length > 0) await printJson(io, found);
      }
    });
  });
}

async function verify(client: VrfsClient, paths: readonly string[], options: StatOptions, io: Io): Promise<void> {
  // By HTTP, as nothing else here: undici takes longer to load than a stat.
  const { verifiedStat } = await import('../../client/verified_stat.ts');
  const configuration = defined(client.configuration ?? undefined, 'configuration');
  const all: { path: string; verified: VerifiedStat }[] = [];
  for (const path of paths) all.push({ path, verified: await verifiedStat(configuration, path, { credentials: processCredentials(), timeoutMs: options.timeout }) });
  if (options.json === true) {
    await printJson(io, all.map(({ path, verified: v }) => ({ path, ...(v.stats === null ? {} : jsonStats(v.stats)), verified: jsonOf(v) })));
  } else {
    for (const { path, verified } of all) {
      if (verified.stats !== null) await print(io, statText(path, verified.stats));
      await print(io, verifiedText(path, verified));
    }
    await note(io, 'This is how it was at that checkpoint; what was changed since does not show. The age is by the clock of this machine.');
  }
  const absent = all.filter(({ verified }) => verified.stats === null).length;
  if (absent > 0) throw new Failed(`${absent} of ${all.length} paths were proved to lead to nothing`);
}

function ageSeconds({ checkpoint }: VerifiedStat): number | null {
  return checkpoint.timeMicros === null ? null : (Date.now() - checkpoint.timeMicros / 1000) / 1000;
}

function jsonOf(v: VerifiedStat): object {
  const { op, root, records, timeMicros } = v.checkpoint;
  return {
    absent: v.stats === null, missing: v.missing === null ? null : jsonName(v.missing), op, root: digestToHex(root), records, timeMicros, ageSeconds: ageSeconds(v),
    agreed: v.agreed, quorum: v.quorum, prover: v.prover, proofBytes: v.proofBytes,
  };
}

function verifiedText(path: string, v: VerifiedStat): string {
  const { op, root, timeMicros } = v.checkpoint;
  const age = ageSeconds(v);
  const when = timeMicros === null || age === null ? '' : ` of ${new Date(timeMicros / 1000).toISOString()}, ${age.toFixed(1)} s ago`;
  const what = v.stats === null ? `${path}: proved not to be there (no '${printable(v.missing ?? Buffer.alloc(0))}')` : 'Verified:';
  return `${what} at op ${op}${when}\n  Root: ${digestToHex(root)}\n        the same at members ${v.agreed.join(', ')} (${v.quorum} had to agree); proof of ${v.proofBytes} bytes from member ${v.prover}`;
}

function statText(path: string, s: Stats): string {
  const a = s.attributes;
  return [
    `  File: ${path}`,
    `  Type: ${a.type}   Inode: ${a.ino}   Links: ${a.nlink}   Version: ${a.version}`,
    `  Size: ${a.size}   Blocks: ${a.blocks}`,
    `Access: ${octal(a.mode)}/${modeText(a.type, a.mode)}   Uid: ${a.uid}   Gid: ${a.gid}`,
    `Access: ${timeText(a.atime)}`,
    `Modify: ${timeText(a.mtime)}`,
    `Change: ${timeText(a.ctime)}`,
    ` Birth: ${timeText(a.birthtime)}`,
  ].join('\n');
}
