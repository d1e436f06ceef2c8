/**
 * `vrfs revive`: a memory-mode group that has lost its log goes on from a checkpoint; or one member goes on alone (--alone), whose majority is lost for good. Without
 * --accept-loss it only says what that would mean.
 */
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { UsageError } from '../failure.ts';
import type { Io } from '../io.ts';
import { onTheDiskOf } from '../local_disk.ts';

interface ReviveOptions {
  readonly data?: string;
  readonly group?: string;
  readonly from?: string;
  readonly alone?: boolean;
  readonly acceptLoss?: boolean;
}

export function reviveCommand(program: Command, io: Io): void {
  program.command('revive').description('a group that cannot come back: with --durability memory, when its replicas have all stopped, go on from its newest checkpoint; with --alone, when the disks of a majority are lost, go on with one member. Says what is lost; does it with --accept-loss only')
    .option('--data <directory>', 'the data directory of one member')
    .option('--from <directory>', 'with --data: take the checkpoint of this data directory, as a copy of another member\'s (default: its own)')
    .option('--group <directory>', 'or all members at once, of a group that "vrfs start" runs')
    .option('--alone', 'with --data: the other members will never come back; go on with this one, with all that it holds, as the only member of a new group')
    .option('--accept-loss', 'what it does not hold is given up')
    .addHelpText('after', '\nExamples:\n  vrfs revive --group ./data                   what is left of the group, and what would be lost\n  vrfs revive --group ./data --accept-loss     then: vrfs start --data ./data\n  vrfs revive --data /var/lib/vrfs             on each machine; then with the newest one\'s directory, copied to the others:\n  vrfs revive --data /var/lib/vrfs --from /tmp/newest --accept-loss\n  vrfs revive --data /var/lib/vrfs --alone     the others are lost for good: what this member holds')
    .action(async ({ data, group: ofStart, from, alone, acceptLoss }: ReviveOptions) => {
      if ((data === undefined) === (ofStart === undefined)) throw new UsageError('give --data <directory> for one member, or --group <directory> for a group that "vrfs start" runs');
      if (alone === true && (data === undefined || from !== undefined)) throw new UsageError('--alone goes with --data <directory>, and goes on from what that holds');
      if (ofStart !== undefined && from !== undefined) throw new UsageError('--from goes with --data: --group takes the newest checkpoint of its members');
      const { oneMember, survivor, wholeGroup } = await import('../revival.ts');
      if (ofStart !== undefined) {
        const root = resolve(io.cwd, ofStart);
        await onTheDiskOf(root, () => wholeGroup(root, acceptLoss === true, io));
      } else if (data !== undefined) {
        const directory = resolve(io.cwd, data);
        if (alone === true) await onTheDiskOf(directory, () => survivor(directory, acceptLoss === true, io));
        else await onTheDiskOf(directory, () => oneMember(directory, from === undefined ? null : resolve(io.cwd, from), acceptLoss === true, io));
      }
    });
}
