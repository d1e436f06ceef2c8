/** What a process says of itself in GET /v1/status: its parts are asked one by one. */
import { memberId } from '../lib/ids.ts';
import type { Parts } from './parts.ts';
import type { CheckpointCost, ServerStatus } from './running_replica.ts';
import { VERSION } from './version.ts';

/** What outlives the parts, or is asked with care. */
export type OfProcess = Pick<ServerStatus, 'replica' | 'scrub' | 'namespace'> & Pick<ServerStatus['store'], 'damages' | 'lastDamage'>;

export function serverStatus(parts: Parts, { replica, scrub, namespace, damages, lastDamage }: OfProcess): ServerStatus {
  const { boot: { data, room }, store, journal, peers, linkLog, clients, recovery } = parts;
  const s = store.status();
  return {
    clusterId: data.clusterId.toString('hex'),
    version: VERSION,
    pid: process.pid,
    uptimeMs: Math.round(process.uptime() * 1000),
    replica,
    recovery: recovery.report(),
    donor: { requests: s.donor.requests, bytesSent: s.donor.bytesSent, deferred: s.donor.deferred, checkpoints: s.donor.checkpoints.map(({ op }) => op) },
    store: {
      records: s.records, bytes: s.recordBytes, overlayRecords: s.overlayRecords + s.frozenRecords, overlayBytes: s.overlayBytes + s.frozenBytes,
      takes: s.takes, lastTakeMs: s.lastTakeMs, waitingForRoom: room.waiting, roomWaits: room.waits, damages, lastDamage,
    },
    checkpointCost: { ...s.costs, ...sinceCheckpoint(parts) },
    scrub,
    journal: journal.status(),
    links: peers.status().map((l) => ({ ...l, refused: linkLog.refusals.get(memberId(l.member)) ?? null })),
    namespace,
    clientConnections: clients.size,
    ...(data.warnings.length > 0 ? { warnings: data.warnings } : {}),
  };
}

function sinceCheckpoint({ replica }: Parts): Pick<CheckpointCost, 'logOpsSince' | 'logBytesSince'> {
  if (replica === null) return { logOpsSince: 0, logBytesSince: 0 };
  const { log, persistence: { superblock: { checkpoint } } } = replica;
  return { logOpsSince: Math.max(0, log.head - checkpoint.op), logBytesSince: log.bytesAfter(checkpoint.op) };
}
