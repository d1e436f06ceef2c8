/** Whether a replica can serve, and if not why, and what to do. Of what it says of itself; a halted process or a store under repair is the process's to say. */
import { join } from 'node:path';
import type { MemberId } from '../lib/ids.ts';
import { isElector, quorum, type Durability } from '../vr/configuration.ts';
import type { ReplicaStatus } from '../vr/replica_types.ts';
import type { Health } from './running_replica.ts';

/** A primary that was not heard of for longer is not counted on. */
const PRIMARY_SILENCE_MS = 2_000;

export interface Circumstances {
  /** The data directory. */
  readonly data: string;
  /** Where this node is reached. */
  readonly address: string;
  /** A checkpoint waits until its disk has room; bytes. */
  readonly waitingForRoom: { readonly neededBytes: number; readonly freeBytes: number } | null;
  /** Members that will not have this one, with the reason. */
  readonly refusals: ReadonlyMap<MemberId, string>;
}

export function healthOf(s: ReplicaStatus, at: Circumstances): Health {
  if (s.cramped && at.waitingForRoom !== null) {
    return { ok: false, reason: `the disk is full: a checkpoint waits for ${at.waitingForRoom.neededBytes - at.waitingForRoom.freeBytes} more bytes, and until then nothing more is taken into the log. Make room` };
  }
  const refused = refusedBy(s, at.refusals);
  if (refused !== null) return { ok: false, reason: refused };
  if (s.transferring) return { ok: false, reason: 'the state is being fetched from the other replicas; wait, or see the recovery in /v1/status' };
  if (s.status === 'recovering' && s.recoveryImpossible) return { ok: false, reason: impossible(s.configuration.durability, at.data) };
  if (s.status === 'joining') return { ok: false, reason: `this node is no member of the group yet: vrfs members add ${at.address}` };
  if (s.status === 'retired') return { ok: false, reason: 'this member has left the group; it ends when the others have all that it had' };
  if (s.status === 'transitioning') return { ok: false, reason: 'the members have changed, and what came before is being fetched from the others; wait' };
  if (s.status === 'recovering') return { ok: false, reason: `recovering: this needs the answers of ${quorum(s.configuration)} other replicas or of a working group; start them if they are down` };
  if (s.lacksLog) return { ok: false, reason: 'the log is being fetched from the primary; wait' };
  if (s.status === 'view-change') return { ok: false, reason: 'a new primary is being elected; this needs a majority of the replicas' };
  if (!s.isPrimary && (s.peers.find((p) => p.id === s.primary)?.silentMs ?? null) === null) return { ok: false, reason: `nothing was heard of the primary, member ${s.primary}, yet` };
  if (s.primarySilentMs > PRIMARY_SILENCE_MS) return { ok: false, reason: `nothing was heard of the primary, member ${s.primary}, for ${Math.round(s.primarySilentMs / 1000)} s` };
  return { ok: true };
}

/** Of a recovery for which too few others have what it takes. */
function impossible(durability: Durability, data: string): string {
  if (durability === 'memory') {
    return `so many replicas of this group with durability memory have stopped at once that what it acknowledged after its newest checkpoint is gone. To go on from there stop all of them, and see on each machine what it still holds: vrfs revive --data ${data} (with durability disk a group outlives this)`;
  }
  return `the records or the journals of too many replicas are damaged at once for the others to repair them. A replica whose log does not say that its log on disk cannot be trusted needs records only: stop it and one that does not recover, put a copy of the records of that one in the place of ${join(data, 'records')}, and start both`;
}

/** Without those that refuse it, it hears no quorum: whatever its status says, as of a replica that was formatted anew, which thinks that all begins. */
function refusedBy(s: ReplicaStatus, refusals: ReadonlyMap<MemberId, string>): string | null {
  const [first] = refusals;
  if (first === undefined) return null;
  const heard = s.peers.filter((p) => isElector(s.configuration, p.id) && p.silentMs !== null && p.silentMs <= PRIMARY_SILENCE_MS && !refusals.has(p.id)).length;
  if (heard + 1 >= quorum(s.configuration)) return null;
  return `member ${[...refusals.keys()].join(', ')} will not have this replica: ${first[1]}`;
}
