/** Which file makes which command. A command loads its own file and what that needs, and none of the others: loading all takes ten times as long as Node itself. */
import type { Command } from 'commander';
import type { Io } from './io.ts';

export type RegisterCommands = (program: Command, io: Io) => void;

export interface CommandFile {
  /** Of all the commands that it makes, with their aliases. */
  readonly names: readonly string[];
  readonly load: () => Promise<RegisterCommands>;
}

/** In the order of `vrfs --help`. */
export const COMMAND_FILES: readonly CommandFile[] = [
  { names: ['start'], load: async () => (await import('./commands/start.ts')).startCommand },
  { names: ['tune'], load: async () => (await import('./commands/tune.ts')).tuneCommand },
  { names: ['new-cluster', 'format', 'serve'], load: async () => (await import('./commands/replica.ts')).replicaCommands },
  { names: ['revive'], load: async () => (await import('./commands/revive.ts')).reviveCommand },
  { names: ['mount', 'unmount', 'umount'], load: async () => (await import('./commands/mounts.ts')).mountCommands },
  { names: ['status', 'metrics'], load: async () => (await import('./commands/group.ts')).groupCommands },
  { names: ['members'], load: async () => (await import('./commands/members.ts')).membersCommands },
  { names: ['sessions'], load: async () => (await import('./commands/sessions.ts')).sessionsCommand },
  { names: ['scrub'], load: async () => (await import('./commands/scrub.ts')).scrubCommand },
  { names: ['checkpoint'], load: async () => (await import('./commands/checkpoint.ts')).checkpointCommands },
  { names: ['ls', 'mkdir', 'rm', 'rmdir', 'mv', 'ln', 'readlink', 'tree', 'du'], load: async () => (await import('./commands/namespace.ts')).namespaceCommands },
  { names: ['stat'], load: async () => (await import('./commands/stat.ts')).statCommand },
  { names: ['cat', 'put', 'get', 'touch', 'truncate'], load: async () => (await import('./commands/content.ts')).contentCommands },
  { names: ['chmod', 'chown', 'xattr', 'statfs'], load: async () => (await import('./commands/attributes.ts')).attributeCommands },
];

const VERSION_OPTIONS: readonly (string | undefined)[] = ['-V', '--version'];

/**
 * The files that these arguments need. All of them for help, a name that there is not, whose likeness to others is told, and whatever is wrong: their text names every command.
 * None for the version, which is printed as soon as its option is read.
 */
export function filesFor([first]: readonly string[]): readonly CommandFile[] {
  if (VERSION_OPTIONS.includes(first)) return [];
  const file = COMMAND_FILES.find(({ names }) => names.some((name) => name === first));
  return file === undefined ? COMMAND_FILES : [file];
}
