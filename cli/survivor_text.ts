/** What it means that one member goes on alone, in words. */
import type { Survivor, SurvivorPlan } from '../server/survivor.ts';
import { viewEpoch, viewNumber, type View } from '../lib/ids.ts';
import { checkpointText } from './revival_text.ts';

export function survivorProposal(plan: SurvivorPlan): string {
  const { own, checkpoint, entries, last, logView, damage } = plan;
  const { directory, clusterId } = own;
  const { durability } = own.superblock.configuration;
  const inJournal = durability === 'memory' ? [] : [`  behind that its journal holds ${entries.length === 0 ? 'nothing' : `${entries.length} operations, up to op ${last.op} (${new Date(last.time / 1000).toISOString()})`}`, ...(logView === null ? [] : [`  log-view: ${viewText(logView)}`])];
  return [
    `${directory} is the data directory of member ${own.memberId} of group ${clusterId.toString('hex')}, durability ${durability}`,
    `  its newest checkpoint: ${checkpointText(checkpoint)}`,
    ...inJournal,
    ...damage.map((what) => `  not all of its journal can be kept: ${what}`),
    '',
    `Only if no majority of the group will ever run again. While one can, nothing is lost: start it. The other members are ${plan.lost.map((m) => `${m.id} (${m.address})`).join(', ')}.`,
    logView === null
      ? 'If several members are left, run this command on each, and go on with the one that holds the newest operation; the rest join it anew, in empty directories.'
      : 'If several members are left, run this command on each, and go on with the one of the highest log-view, and among those of one log-view with the one that holds the newest operation: an old log may be longer, and wrong. The rest join it anew, in empty directories.',
    '',
    `What is lost when member ${own.memberId} goes on alone from op ${last.op}:`,
    '  - every operation that the others acknowledged and this member does not hold: none, if it was up to date when they were lost; otherwise nobody knows how many',
    '  - all sessions: they belong to clients of the old group and end after their time-out, with what they held open; files that were unlinked while they were open go then',
    `  - the meaning of every version (ETag) and op-number above ${last.op} that a client remembers: they are given anew, to other changes`,
    'The new group has an id of its own: clients, mounts and members of the old one are refused by it, and refuse it. Should the others come back after all they are',
    'the old group, with another file system: never let clients of both be one. There is no way back: keep a copy of the directory if you may want one.',
    '',
    `Nothing was changed. To go on from op ${last.op}:`,
    `  vrfs revive --data ${directory} --alone --accept-loss`,
    ...next(plan),
  ].join('\n');
}

export function survivorText(plan: Survivor): string {
  return [`${plan.own.directory} goes on alone from op ${plan.last.op}: member ${plan.own.memberId}, the only one of group ${plan.clusterId.toString('hex')}. Then:`, ...next(plan)].join('\n');
}

/** As two numbers, of which the first counts more. */
function viewText(view: View): string {
  return `${viewEpoch(view)}.${viewNumber(view)}`;
}

/** One member survives nothing: it is to get others soon. */
function next({ own, member }: SurvivorPlan): string[] {
  return [
    `  vrfs serve --data ${own.directory}`,
    'and, so that it survives the loss of a machine again, two more, each with an empty directory:',
    `  vrfs serve --data <directory> --join ${member.address} --address <host:port> --http-address <host:port>`,
    `  vrfs members add <address of one> <address of the other> --server ${member.address}`,
  ];
}
