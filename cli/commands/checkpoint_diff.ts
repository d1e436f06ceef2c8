/** `vrfs checkpoint diff A B`: which paths differ between two checkpoints, at one replica or at two. */
import type { Command } from 'commander';
import type { NamespaceDiff, PathChange } from '../../client/checkpoint_diff.ts';
import { CheckpointUnavailable } from '../../client/errors.ts';
import { printable } from '../../client/paths.ts';
import type { RemoteCheckpoint } from '../../client/remote_checkpoint.ts';
import { digest, opNumber } from '../../lib/ids.ts';
import type { Member } from '../../vr/configuration.ts';
import { connectionOptions, jsonOption, type ConnectionOptions } from '../connected.ts';
import { UsageError } from '../failure.ts';
import { jsonName, sizeText } from '../format.ts';
import { newestConfiguration } from '../group_members.ts';
import { note, print, printJson, type Io } from '../io.ts';
import { markReading } from '../reading.ts';
import { checkpointsOf, keepers, type Checkpoints } from './checkpoint_lists.ts';

interface DiffOptions extends ConnectionOptions {
  readonly search: boolean;
}

export function checkpointDiffCommand(checkpoint: Command, io: Io): void {
  const diff = checkpoint.command('diff').description('which paths differ between two checkpoints; reads the parts of their Merkle trees that differ, and all directory entries where files were changed in place (--no-search: not those)')
    .argument('<older>', 'op-number of a checkpoint that a replica holds (vrfs checkpoint list), or "newest"; with <replica>: in front of it, the one at this replica')
    .argument('<newer>', 'the same')
    .option('--no-search', 'do not look through all directory entries for the names of files that were changed in place: they are shown by their inode number');
  jsonOption(connectionOptions(markReading(diff))).addHelpText('after', '\nExamples:\n  vrfs checkpoint diff 4000 newest\n  vrfs checkpoint diff 1:newest 2:newest').action(async (a: string, b: string, options: DiffOptions) => {
    const [older, newer] = [parse(a), parse(b)];
    const lists = await listsOf(keepers(await newestConfiguration(options, io)), options, io);
    const [before, after] = await Promise.all([open(older, lists, options), open(newer, lists, options)]);
    const onSearch = async (names: number): Promise<void> => {
      if (options.json !== true) await note(io, `looking for the names of ${names} files among all entries (--no-search leaves them out)`);
    };
    const { diffNamespaces } = await import('../../client/checkpoint_diff.ts');
    const found = await diffNamespaces(before, after, { search: options.search, onSearch });
    await show(found, before, after, options, io);
  });
}

interface Wanted {
  readonly text: string;
  readonly member: number | null;
  /** Null: the newest. */
  readonly op: number | null;
}

interface Held {
  readonly member: Member;
  readonly checkpoints: Checkpoints;
}

function parse(text: string): Wanted {
  const parts = /^(?:(\d{1,10}):)?(\d{1,15}|newest)$/.exec(text);
  const [, member, op] = parts ?? [];
  if (op === undefined || Number(op) >= 2 ** 48) throw new UsageError(`'${text}' names no checkpoint: give an op-number, "newest", or one of them behind the number of a replica, as 2:4000`);
  return { text, member: member === undefined ? null : Number(member), op: op === 'newest' ? null : Number(op) };
}

async function listsOf(members: readonly Member[], options: DiffOptions, io: Io): Promise<Held[]> {
  const answers = await Promise.all(members.map(async (member) => ({ member, answer: await checkpointsOf(member, options.timeout) })));
  for (const { member, answer } of answers) if (!answer.ok) await note(io, `replica ${member.id}: ${answer.error}`);
  return answers.flatMap(({ member, answer }) => (answer.ok ? [{ member, checkpoints: answer.value }] : []));
}

async function open({ text, member, op }: Wanted, lists: readonly Held[], { timeout }: DiffOptions): Promise<RemoteCheckpoint> {
  const found = lists.filter((held) => member === null || held.member.id === member)
    .flatMap((held) => held.checkpoints.held.map((one) => ({ ...one, member: held.member })))
    .filter((one) => op === null || one.op === op)
    .sort((x, y) => y.op - x.op)[0];
  if (found === undefined) {
    const all = lists.map((held) => `replica ${held.member.id}: ${held.checkpoints.held.map((one) => one.op).join(', ') || 'none'}`).join('; ');
    throw new CheckpointUnavailable(`no replica that answers holds the checkpoint ${text} (${all}). vrfs checkpoint take --keep <seconds> makes one that stays`);
  }
  const { RemoteCheckpoint } = await import('../../client/remote_checkpoint.ts');
  return RemoteCheckpoint.open(found.member, { op: opNumber(found.op), root: digest(Buffer.from(found.root, 'hex').latin1Slice()) }, timeout);
}

async function show({ changes, records, internal }: NamespaceDiff, before: RemoteCheckpoint, after: RemoteCheckpoint, options: DiffOptions, io: Io): Promise<void> {
  if (options.json === true) {
    await printJson(io, { before: sideOf(before), after: sideOf(after), records, internalRecords: internal, changes: changes.map(jsonOf) });
    return;
  }
  for (const change of changes) await print(io, lineOf(change));
  const read = sizeText(before.figures.bytes + after.figures.bytes);
  const what = changes.length === 0 ? 'no path differs' : `${changes.length} ${changes.length === 1 ? 'path differs' : 'paths differ'}`;
  await note(io, `${what} between op ${before.at.op} at replica ${before.member.id} and op ${after.at.op} at replica ${after.member.id}: ${records} records, ${internal} of them the group's own; read ${before.figures.nodes + after.figures.nodes} nodes, ${read}`);
}

const SIGNS: Readonly<Record<PathChange['kind'], string>> = { added: '+', removed: '-', replaced: '!', moved: '>', changed: '*' };

function lineOf({ kind, path, from, ino, type, aspects }: PathChange): string {
  const name = path === null ? `inode ${ino}` : printable(path);
  const old = from === null ? '' : `${printable(from)} -> `;
  return `${SIGNS[kind]} ${old}${name}  (${[type, ...aspects].join(', ')})`;
}

function jsonOf({ kind, path, from, ino, type, aspects }: PathChange): object {
  return { kind, path: path === null ? null : jsonName(path), from: from === null ? null : jsonName(from), ino, type, aspects };
}

function sideOf({ member, at, count, figures }: RemoteCheckpoint): object {
  return { member: member.id, op: at.op, root: Buffer.from(at.root, 'latin1').toString('hex'), records: count, nodesRead: figures.nodes, bytesRead: figures.bytes };
}
