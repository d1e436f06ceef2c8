/** What `vrfs revive` does and says: for one member, for one that goes on alone, for a group that `vrfs start` runs. */
import { basename, dirname } from 'node:path';
import { inspect } from '../server/data_directory.ts';
import { proposeRevival, revive, type Plan } from '../server/revive.ts';
import { goOnAlone, proposeSurvivor } from '../server/survivor.ts';
import { EnvironmentError, Failed } from './failure.ts';
import { print, type Io } from './io.ts';
import { checkpointText, holdingText, lineageText, lossText } from './revival_text.ts';
import { CLUSTER_NAME, FORMATTED_NAME, memberDirectory, names } from './start/group_directory.ts';
import { proposeGroupRevival, reviveGroup, type GroupPlan } from './start/revive_group.ts';
import { survivorProposal, survivorText } from './survivor_text.ts';

export async function oneMember(directory: string, from: string | null, accepted: boolean, io: Io): Promise<void> {
  await refusePartOfGroup(directory);
  const plan = accepted ? await revive(directory, from) : await proposeRevival(directory, from);
  if (plan === 'finished') {
    const { clusterId, revivedFrom } = await inspect(directory);
    await print(io, `finished what was interrupted: ${directory} is of group ${clusterId.toString('hex')}, which goes on from op ${revivedFrom?.op ?? 0}\n${startText(directory)}`);
  } else if (plan.done) {
    await print(io, `${directory} is revived from this checkpoint already: ${reached(plan)}. Nothing was changed\n${startText(directory)}`);
  } else if (accepted) {
    await print(io, `${directory} is revived: ${reached(plan)}\n${startText(directory)}`);
  } else {
    await print(io, memberProposal(plan, from));
    throw new Failed('nothing was changed: the loss was not accepted');
  }
}

export async function survivor(directory: string, accepted: boolean, io: Io): Promise<void> {
  await refusePartOfGroup(directory, 'move it elsewhere first, for it is to be a group of its own, which vrfs serve runs');
  if (!accepted) {
    await print(io, survivorProposal(await proposeSurvivor(directory)));
    throw new Failed('nothing was changed: the loss was not accepted');
  }
  const done = await goOnAlone(directory);
  if (done === 'finished') {
    const { clusterId, memberId } = await inspect(directory);
    await print(io, `finished what was interrupted: ${directory} is member ${memberId} of group ${clusterId.toString('hex')}\nStart it: vrfs serve --data ${directory}`);
  } else {
    await print(io, survivorText(done));
  }
}

/** Its cluster.json has to follow, and so have the other members. */
async function refusePartOfGroup(directory: string, remedy = `revive all its members together: vrfs revive --group ${dirname(directory)}`): Promise<void> {
  const root = dirname(directory);
  const beside = await names(root);
  if (!beside.includes(CLUSTER_NAME) || !beside.includes(FORMATTED_NAME) || !/^\d+$/.test(basename(directory))) return;
  throw new EnvironmentError(`${directory} is a member of the group that 'vrfs start' runs in ${root}`, remedy);
}

function reached({ own, revival }: Plan): string {
  return `member ${own.memberId} of group ${revival.clusterId.toString('hex')}, which goes on from op ${revival.lineage.op} of group ${revival.lineage.clusterId}`;
}

function startText(directory: string): string {
  return `When the others, from the same checkpoint, are members of it too: vrfs serve --data ${directory}`;
}

function memberProposal({ own, revival }: Plan, from: string | null): string {
  const { op } = revival.checkpoint.id;
  const source = revival.source === own.directory ? [] : [`  from ${revival.source}: ${checkpointText(revival.checkpoint)}`];
  return [
    `${own.directory} is the data directory of member ${own.memberId} of group ${own.clusterId.toString('hex')}, durability memory`,
    `  it holds: ${holdingText(own)}`,
    ...source,
    ...lineageText(own.revivedFrom).map((line) => `  ${line}`),
    `While a majority of the members runs nothing is lost: start this one, and it recovers from them (vrfs serve --data ${own.directory}). Otherwise stop them all.`,
    'Another member may hold a newer checkpoint: run this command on each machine, and go on from the newest on all of them.',
    '',
    ...lossText(revival),
    '',
    `Nothing was changed. To go on from op ${op}, for each member, with the newest one's directory copied to the others:`,
    `  vrfs revive --data ${own.directory}${from === null ? '' : ` --from ${revival.source}`} --accept-loss`,
  ].join('\n');
}

export async function wholeGroup(root: string, accepted: boolean, io: Io): Promise<void> {
  const plan = accepted ? await reviveGroup(root) : await proposeGroupRevival(root);
  const group = `group ${plan.revival.clusterId.toString('hex')}, which goes on from op ${plan.revival.lineage.op} of group ${plan.revival.lineage.clusterId}`;
  if (plan.todo.length === 0 && plan.named) await print(io, `the group in ${root} is revived already: it is ${group}. Nothing was changed\nStart it: vrfs start --data ${root}`);
  else if (accepted) await print(io, [`the group in ${root} is revived: it is ${group}`, ...elsewhere(plan), `Start it: vrfs start --data ${root}`].join('\n'));
  else {
    await print(io, groupProposal(plan));
    throw new Failed('nothing was changed: the loss was not accepted');
  }
}

/** Members that `vrfs start` does not run. */
function elsewhere({ root, found, revival }: GroupPlan): string[] {
  const others = revival.checkpoint.at.configuration.members.filter((m) => !found.some((f) => f.id === m.id));
  const source = memberDirectory(root, found[0]?.id ?? 1);
  return others.map((m) => `Member ${m.id} (${m.address}) is not in ${root}: vrfs revive --data <its directory> --from <a copy of ${source}, made before the group is started> --accept-loss`);
}

function groupProposal(plan: GroupPlan): string {
  const { root, found, revival, cluster, todo } = plan;
  const { op } = revival.checkpoint.id;
  const begun = todo.length < found.length;
  return [
    `${root} is group ${cluster.clusterId.toString('hex')}, durability memory, of which nothing runs`,
    ...found.map((m) => `  member ${m.id}: ${m.holding === null ? m.problem ?? '' : holdingText(m.holding)}`),
    ...lineageText(found.find((m) => m.holding?.clusterId.equals(cluster.clusterId))?.holding?.revivedFrom ?? null),
    begun ? `A revival from op ${op} was interrupted.` : `The newest checkpoint is op ${op}, in ${revival.source}.`,
    '',
    ...lossText(revival),
    '',
    `Nothing was changed. To ${begun ? 'finish it' : `go on from op ${op}`}:`,
    `  vrfs revive --group ${root} --accept-loss`,
    `  vrfs start --data ${root}`,
  ].join('\n');
}
