/** What was recommended, set on a running group: `vrfs tune --set`. */
import type { Interval as GroupInterval } from '../../vr/messages.ts';
import { sizeText } from '../format.ts';
import { commandFor, type TuneReport } from './report.ts';

/** The group that is to have it (client/administrator.ts). */
export interface Target {
  interval(): Promise<GroupInterval>;
  changeInterval(wanted: Pick<GroupInterval, 'ops' | 'bytes'>): Promise<GroupInterval>;
}

export type Outcome = { readonly set: true; readonly before: GroupInterval; readonly now: GroupInterval } | { readonly set: false; readonly why: string };

/** Nobody looks at the figures before it is set, so it is set only where they leave no doubt. Rejects as the target does. */
export async function setRecommended({ recommendation: { chosen, certain } }: TuneReport, before: GroupInterval, target: Target): Promise<Outcome> {
  if (chosen === null || chosen.interval.ops === null) return { set: false, why: 'no interval that was measured meets the goals' };
  if (!certain) return { set: false, why: `the recommendation is not beyond doubt; to set it all the same: ${commandFor(chosen)}` };
  const { ops, bytes } = chosen.interval;
  return { set: true, before, now: await target.changeInterval({ ops, bytes }) };
}

const text = ({ ops, bytes }: GroupInterval): string => `every ${ops} operations or ${sizeText(bytes)} of log`;

export function outcomeText(o: Outcome): string {
  if (!o.set) return `Nothing was set: ${o.why}`;
  return `Set on the running group: a checkpoint ${text(o.now)}, since op ${o.now.since}; before: ${text(o.before)}`;
}
