/** What was recommended, set on a running group: `vrfs tune --set`. */
import type { CheckpointInterval } from '../../vr/checkpoint_interval.ts';
import { sizeText } from '../format.ts';
import { commandFor, type TuneReport } from './report.ts';

/** The group that is to have it (client/administrator.ts). */
export interface Target {
  interval(): Promise<CheckpointInterval>;
  changeInterval(wanted: Pick<CheckpointInterval, 'ops' | 'bytes'>): Promise<CheckpointInterval>;
}

export type Outcome = { readonly set: true; readonly before: CheckpointInterval; readonly now: CheckpointInterval } | { readonly set: false; readonly why: string };

/** Nobody looks at the figures before it is set, so it is set only where they leave no doubt. Rejects as the target does. */
export async function setRecommended({ recommendation: { chosen, certain } }: TuneReport, before: CheckpointInterval, target: Target): Promise<Outcome> {
  if (chosen === null || chosen.interval.ops === null) return { set: false, why: 'no interval that was measured meets the goals' };
  if (!certain) return { set: false, why: `the recommendation is not beyond doubt; to set it all the same: ${commandFor(chosen)}` };
  const { ops, bytes } = chosen.interval;
  return { set: true, before: bare(before), now: bare(await target.changeInterval({ ops, bytes })) };
}

/** Without what else the message held that brought it. */
function bare({ ops, bytes, since }: CheckpointInterval): CheckpointInterval {
  return { ops, bytes, since };
}

const text = ({ ops, bytes }: CheckpointInterval): string => `every ${ops} operations or ${sizeText(bytes)} of log`;

export function outcomeText(o: Outcome): string {
  if (!o.set) return `Nothing was set: ${o.why}`;
  return `Set on the running group: a checkpoint ${text(o.now)}, since op ${o.now.since}; before: ${text(o.before)}`;
}
