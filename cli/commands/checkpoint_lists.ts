/** Which checkpoints a replica says that it has. */
import { z } from 'zod';
import type { Configuration, Member } from '../../vr/configuration.ts';
import { byId } from '../group_members.ts';
import { getJson, type Answered } from './replica_http.ts';

const KnownCheckpoint = z.looseObject({ op: z.number(), root: z.string(), timeMicros: z.number() });
const Checkpoints = z.looseObject({
  held: z.array(KnownCheckpoint.extend({ records: z.number(), bytes: z.number(), readers: z.number(), idleMs: z.number(), keptMs: z.number() })),
  known: z.array(KnownCheckpoint),
});
export type Checkpoints = z.infer<typeof Checkpoints>;

/** Those that keep the state. */
export function keepers(configuration: Configuration): Member[] {
  return byId(configuration).filter((m) => m.role !== 'witness');
}

export function checkpointsOf(member: Member, timeoutMs: number): Promise<Answered<Checkpoints>> {
  return getJson(member, '/v1/checkpoints', Checkpoints, timeoutMs);
}
