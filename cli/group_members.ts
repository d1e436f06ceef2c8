/**
 * Who belongs to the group, for commands that ask each member about itself. A node that waits to join, and a member that lagged when the
 * members were changed, name the members of an earlier day, so whoever answers first is not believed: all servers are asked, and the newest counts.
 */
import { onlyTheMoment } from '../lib/promises.ts';
import { NoAnswer } from '../client/administrator_errors.ts';
import { introduce } from '../client/line.ts';
import type { Configuration, Member } from '../vr/configuration.ts';
import { serversOf, type ConnectionOptions } from './connected.ts';
import { UsageError } from './failure.ts';
import type { Io } from './io.ts';

/** How long the others are waited for once one has answered, milliseconds: a machine that is down is when people ask. */
const OTHERS_MS = 1000;

/** The newest that any of the servers knows, without a primary too. Rejects with NoAnswer, and with UsageError when they are not of one group. */
export async function newestConfiguration(options: ConnectionOptions, io: Io): Promise<Configuration> {
  const servers = serversOf(options, io);
  const enough = new AbortController();
  const asked = servers.map((s) => introduce(s, options.timeout, enough.signal));
  let timer: NodeJS.Timeout | undefined;
  const first = Promise.any(asked).then(() => { timer = setTimeout(() => { enough.abort(); }, OTHERS_MS); }, onlyTheMoment);
  const answers = await Promise.allSettled(asked);
  await first;
  clearTimeout(timer);
  const known = answers.flatMap((a, i) => (a.status === 'fulfilled' ? [{ server: servers[i], group: a.value.clusterId.toString('hex'), configuration: a.value.configuration }] : []));
  if (new Set(known.map((k) => k.group)).size > 1) {
    throw new UsageError(`these servers are of different groups: ${known.map((k) => `${k.server} of ${k.group}`).join(', ')}. Give those of one (--server, VRFS_SERVERS)`);
  }
  const newest = known.map((k) => k.configuration).sort((a, b) => b.epoch - a.epoch)[0];
  if (newest !== undefined) return newest;
  const failures = answers.flatMap((a) => (a.status === 'rejected' ? [a.reason instanceof Error ? a.reason.message : String(a.reason)] : []));
  throw new NoAnswer(`no replica can be reached (${failures.join('; ')})`);
}

/** By id. */
export async function membersOf(options: ConnectionOptions, io: Io): Promise<Member[]> {
  return byId(await newestConfiguration(options, io));
}

export function byId(c: Configuration): Member[] {
  return [...c.members].sort((a, b) => a.id - b.id);
}
