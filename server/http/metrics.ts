/**
 * Prometheus metrics. Those of the replica are read from its status at each scrape; only the HTTP ones are counted as
 * requests end. A registry of its own, so that several replicas can live in one process.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import { viewNumber } from '../../lib/ids.ts';
import type { LatencyCounts } from '../latency_histogram.ts';
import type { RunningReplica, ServerStatus, Timings } from '../running_replica.ts';
import type { AllRooms, Rooms } from './rooms.ts';

const BUCKETS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

type Value = readonly [labels: Readonly<Record<string, string | number>>, value: number];

interface Family {
  readonly name: string;
  readonly help: string;
  readonly type: 'gauge' | 'counter';
  readonly labels: readonly string[];
  readonly values: (s: ServerStatus, running: RunningReplica) => readonly Value[];
}

function family(type: Family['type'], name: string, help: string, values: (s: ServerStatus, running: RunningReplica) => readonly Value[], labels: readonly string[] = []): Family {
  return { name: `vrfs_${name}`, help, type, labels, values };
}
function gauge(name: string, help: string, value: (s: ServerStatus, running: RunningReplica) => number): Family {
  return family('gauge', name, help, (s, running) => [[{}, value(s, running)]]);
}
function counter(name: string, help: string, value: (s: ServerStatus) => number): Family {
  return family('counter', name, help, (s) => [[{}, value(s)]]);
}
function perPeer(name: string, help: string, value: (p: ServerStatus['replica']['peers'][number]) => number | null): Family {
  return family('gauge', name, help, (s) => s.replica.peers.flatMap((p) => {
    const v = value(p);
    return v === null ? [] : [[{ peer: p.id }, v] as const];
  }), ['peer']);
}
function perLink(type: Family['type'], name: string, help: string, value: (l: ServerStatus['links'][number]) => number): Family {
  return family(type, name, help, (s) => s.links.map((l) => [{ peer: l.member }, value(l)] as const), ['peer']);
}

function ofNamespace(name: string, help: string, value: (n: NonNullable<ServerStatus['namespace']>) => number): Family {
  return family('gauge', name, help, (s) => (s.namespace === null ? [] : [[{}, value(s.namespace)]]));
}

const STATUSES = ['normal', 'view-change', 'recovering', 'transitioning', 'joining', 'retired'] as const;

const FAMILIES: readonly Family[] = [
  family('gauge', 'info', 'Always 1; who this is.', (s) => [[{ cluster: s.clusterId, member: s.replica.memberId, version: s.version, durability: s.replica.configuration.durability }, 1]], ['cluster', 'member', 'version', 'durability']),
  gauge('healthy', '1 when normal and a primary is reachable.', (_s, running) => (running.health().ok ? 1 : 0)),
  family('gauge', 'status', '1 for the status that the replica is in.', (s) => STATUSES.map((status) => [{ status }, s.replica.status === status ? 1 : 0] as const), ['status']),
  gauge('is_primary', '1 when this replica is the primary of its view.', (s) => (s.replica.isPrimary ? 1 : 0)),
  gauge('epoch', 'Configuration number.', (s) => s.replica.epoch),
  gauge('view', 'View number, within its epoch.', (s) => viewNumber(s.replica.view)),
  gauge('op_number', 'Head of the log.', (s) => s.replica.op),
  gauge('commit_number', 'Newest committed operation.', (s) => s.replica.commit),
  gauge('executed_number', 'Newest executed operation.', (s) => s.replica.executed),
  gauge('checkpoint_op_number', 'Operation of the newest durable checkpoint.', (s) => s.replica.checkpoint.op),
  gauge('checkpointing', '1 while a checkpoint is being written, or waits for its turn.', (s) => (s.replica.checkpointing ? 1 : 0)),
  gauge('transferring', '1 while the state is being fetched from a peer.', (s) => (s.replica.transferring ? 1 : 0)),
  gauge('sessions', 'Client sessions of the group.', (s) => s.replica.sessions),
  gauge('sessions_limit', 'Client sessions that the group may have (maxSessions), as this replica is configured: the primary\'s counts.', (s) => s.replica.maxSessions),
  gauge('client_connections', 'Client connections of this replica.', (s) => s.clientConnections),
  family('counter', 'client_messages_total', 'Messages of clients to this replica, by type: request (an operation that goes through the log), read, register (a session), endSession, reconfigure, checkEpoch, askInterval.', (_s, running) => Object.entries(running.clientMessages()).map(([type, n]) => [{ type }, n] as const), ['type']),
  gauge('members', 'Members of the group.', (s) => s.replica.configuration.members.length),
  perPeer('peer_silence_seconds', 'Time since something came from the peer.', (p) => (p.silentMs === null ? null : p.silentMs / 1000)),
  perPeer('peer_acked_op_number', 'Newest operation that the peer acknowledged; at the primary.', (p) => p.acked),
  perLink('gauge', 'link_connected', '1 while the link to the peer is up.', (l) => (l.connected ? 1 : 0)),
  perLink('gauge', 'link_queued_bytes', 'Bytes waiting for the peer.', (l) => l.queuedBytes),
  perLink('counter', 'link_sent_bytes_total', 'Bytes sent to the peer.', (l) => l.sentBytes),
  perLink('counter', 'link_received_bytes_total', 'Bytes received from the peer.', (l) => l.receivedBytes),
  perLink('counter', 'link_dropped_messages_total', 'Messages dropped because the peer was slow or away.', (l) => l.dropped),
  ofNamespace('inodes', 'Inodes of the file system, as of what is executed here; absent where there is no state, as at a witness.', (n) => n.inodes),
  ofNamespace('inodes_limit', 'Inodes that the file system may have.', (n) => n.maxInodes),
  ofNamespace('namespace_bytes', 'Bytes of the contents of files, as stored.', (n) => n.bytes),
  ofNamespace('namespace_bytes_limit', 'Bytes that the contents of files may have.', (n) => n.maxBytes),
  gauge('store_records', 'Records of the state.', (s) => s.store.records),
  gauge('store_bytes', 'Bytes of the records of the newest durable checkpoint.', (s) => s.store.bytes),
  gauge('store_overlay_records', 'Records changed since the last durable checkpoint.', (s) => s.store.overlayRecords),
  gauge('store_overlay_bytes', 'Bytes of the records changed since the last durable checkpoint.', (s) => s.store.overlayBytes),
  counter('checkpoints_total', 'Checkpoints taken since the boot.', (s) => s.store.takes),
  family('gauge', 'checkpoint_last_seconds', 'How long the newest checkpoint took; absent until one was taken since the boot.', (s) => (s.store.takes === 0 ? [] : [[{}, s.store.lastTakeMs / 1000]])),
  gauge('checkpoint_interval_ops', 'A checkpoint is taken every so many operations.', (s) => s.replica.checkpointInterval.ops),
  gauge('checkpoint_interval_bytes', 'A checkpoint is taken after so many bytes of log.', (s) => s.replica.checkpointInterval.bytes),
  counter('checkpoint_seconds_total', 'Time in which a checkpoint was being written.', (s) => s.checkpointCost.total.wallMs / 1000),
  counter('checkpoint_busy_seconds_total', 'Time on the event loop for checkpoints.', (s) => s.checkpointCost.total.busyMs / 1000),
  counter('checkpoint_records_total', 'Changed records written by checkpoints.', (s) => s.checkpointCost.total.records),
  counter('checkpoint_record_bytes_total', 'Bytes of changed records written by checkpoints.', (s) => s.checkpointCost.total.recordBytes),
  counter('checkpoint_node_bytes_total', 'Bytes of tree nodes written by checkpoints.', (s) => s.checkpointCost.total.nodeBytes),
  gauge('checkpoint_longest_hold_seconds', 'Longest time at a stretch for which a checkpoint of the last five minutes held the event loop.', (s) => (s.checkpointCost.recent.mean?.longestMs ?? 0) / 1000),
  gauge('checkpoint_share', 'Part of the last five minutes in which a checkpoint was being written.', (s) => s.checkpointCost.recent.share),
  gauge('checkpoint_log_bytes', 'Bytes of log behind the newest durable checkpoint.', (s) => s.checkpointCost.logBytesSince),
  gauge('checkpoint_waiting_for_room', '1 while a checkpoint waits for room on the disk.', (s) => (s.store.waitingForRoom === null ? 0 : 1)),
  gauge('checkpoint_missing_room_bytes', 'Bytes that have to be freed on the disk before the checkpoint that waits is written.', (s) => (s.store.waitingForRoom === null ? 0 : s.store.waitingForRoom.neededBytes - s.store.waitingForRoom.freeBytes)),
  counter('checkpoint_room_waits_total', 'Times that a checkpoint had to wait for room on the disk since the boot.', (s) => s.store.roomWaits),
  gauge('cramped', '1 while the disk has hardly room for the log, so that nothing more is taken into it.', (s) => (s.replica.cramped ? 1 : 0)),
  counter('store_damages_total', 'Times that records were found damaged on the disk since the process began.', (s) => s.store.damages),
  gauge('scrub_running', '1 while the store is being read to look for damage.', (s) => (s.scrub.state === 'running' ? 1 : 0)),
  gauge('scrub_halted', '1 while damage that a scrub found waits for its repair.', (s) => (s.scrub.state === 'halted' ? 1 : 0)),
  gauge('scrub_progress_ratio', 'How far the present scrub is, 0 to 1; 1 while there is none.', (s) => s.scrub.pass?.progress ?? 1),
  counter('scrub_passes_total', 'Scrubs of the whole store that came to their end since the process began.', (s) => s.scrub.passes),
  counter('scrub_pages_total', 'Pages of the Merkle tree compared by scrubs.', (s) => s.scrub.pages),
  counter('scrub_records_total', 'Records compared by scrubs.', (s) => s.scrub.records),
  counter('scrub_bytes_total', 'Bytes of tables, nodes and records read by scrubs.', (s) => s.scrub.bytes),
  counter('scrub_damages_total', 'Times that a scrub found damage.', (s) => s.scrub.damages),
  counter('scrub_rewritten_tables_total', 'Tables of which the disk had lost a part that was still in memory.', (s) => s.scrub.rewrittenTables),
  gauge('scrub_unwritten_tables', 'Tables that are whole in memory alone: the disk has lost a part of them and did not take it again.', (s) => s.scrub.unwrittenTables),
  gauge('scrub_failures', 'Scrubs in a row that were broken off by an error that is no damage.', (s) => s.scrub.failures),
  family('gauge', 'scrub_last_complete_timestamp_seconds', 'When the newest complete scrub ended; absent until then.', (s) => (s.scrub.lastCompleteAt === null ? [] : [[{}, s.scrub.lastCompleteAt / 1000]])),
  gauge('journal_segments', 'Segments of the journal.', (s) => s.journal.segments),
  gauge('journal_bytes', 'Bytes of the journal on disk.', (s) => s.journal.bytes),
  counter('journal_groups_total', 'Group commits: one write and one fdatasync each.', (s) => s.journal.groups),
  counter('journal_records_total', 'Records written to the journal.', (s) => s.journal.records),
  counter('journal_written_bytes_total', 'Bytes written to the journal.', (s) => s.journal.bytesWritten),
  counter('journal_sync_seconds_total', 'Time spent in writev and fdatasync.', (s) => s.journal.syncMs / 1000),
  counter('state_transfers_total', 'Checkpoint transfers from peers since the boot.', (s) => s.recovery.transfers),
  counter('state_transfer_bytes_total', 'Bytes received in checkpoint transfers since the boot.', (s) => s.recovery.bytesReceived),
  gauge('state_transfer_settled_ratio', 'How much of the checkpoint that is being fetched is here, 0 to 1; 1 when none is.', (s) => s.recovery.transfer?.settled ?? 1),
  gauge('state_transfer_running_bytes', 'Bytes received of the checkpoint that is being fetched.', (s) => s.recovery.transfer?.bytesReceived ?? 0),
  gauge('state_transfer_running_record_bytes', 'Bytes of the records that differed, of the checkpoint that is being fetched.', (s) => s.recovery.transfer?.recordBytes ?? 0),
  gauge('state_transfer_nodes_verified', 'Nodes of the tree fetched and found right, of the checkpoint that is being fetched.', (s) => s.recovery.transfer?.nodesVerified ?? 0),
  gauge('state_transfer_nodes_wanted', 'Nodes of the tree known to differ and not fetched yet.', (s) => s.recovery.transfer?.nodesWanted ?? 0),
  family('gauge', 'state_transfer_eta_seconds', 'What the transfer under way will still take at its rate; absent without one.', (s) => {
    const etaMs = s.recovery.transfer?.etaMs ?? null;
    return etaMs === null ? [] : [[{}, etaMs / 1000]];
  }),
  counter('donor_requests_total', 'Requests of replicas that fetch the state.', (s) => s.donor.requests),
  counter('donor_sent_bytes_total', 'Bytes given to replicas that fetch the state.', (s) => s.donor.bytesSent),
  counter('donor_deferred_total', 'Requests of replicas that fetch the state that were put off, because of transferRate or of what clients need.', (s) => s.donor.deferred),
  counter('catch_up_log_bytes_total', 'Bytes of log received from peers to catch up, since the boot.', (s) => s.recovery.logBytesReceived),
  family('gauge', 'caught_up_seconds', 'Time from the start until the replica had caught up; absent until then.', (s) => (s.recovery.caughtUpMs === null ? [] : [[{}, s.recovery.caughtUpMs / 1000]])),
  family('counter', 'events_total', 'Events of the replica since the boot, by name.', (_s, running) => [...running.eventCounts()].map(([event, n]) => [{ event }, n] as const), ['event']),
];

/** prom-client's histograms are made by telling them of each value: these are counted where things happen, and only shown here. */
const HISTOGRAMS: readonly (readonly [name: string, help: string, counts: (t: Timings) => LatencyCounts])[] = [
  ['vrfs_journal_write_seconds', 'How long group commits took: one write and one fdatasync each.', (t) => t.journalWrites],
  ['vrfs_request_seconds', 'How long clients\' requests took that this replica answered as the primary, each of them: from the read of the connection that brought one to the end of the turn of the event loop in which its reply was written. Reads, and requests that were refused, are not among them.', (t) => t.requests],
];

function histogramText(name: string, help: string, { bounds, counts, seconds }: LatencyCounts): string {
  let below = 0;
  const buckets = [...bounds, '+Inf'].map((le, i) => {
    below += counts[i] ?? 0;
    return `${name}_bucket{le="${le}"} ${below}`;
  });
  return [`\n# HELP ${name} ${help}`, `# TYPE ${name} histogram`, ...buckets, `${name}_sum ${seconds}`, `${name}_count ${below}`, ''].join('\n');
}

/** The monitor's timer; what it records is the time from one to the next. */
const MONITOR_MS = 10;
const STALL_QUANTILES = [0.5, 0.99, 0.999, 1] as const;

export class HttpMetrics {
  readonly #delays = monitorEventLoopDelay({ resolution: MONITOR_MS });
  readonly #stalls: Gauge;
  readonly #registry = new Registry();
  readonly #running: RunningReplica;
  readonly #families: readonly (readonly [Family, Gauge | Counter])[];
  readonly #requests: Counter;
  readonly #seconds: Histogram;
  readonly #rooms: AllRooms;
  readonly #held: Gauge;

  constructor(running: RunningReplica, rooms: AllRooms) {
    this.#running = running;
    this.#rooms = rooms;
    const registers = [this.#registry];
    collectDefaultMetrics({ register: this.#registry });
    this.#families = FAMILIES.map((f) => {
      const options = { name: f.name, help: f.help, labelNames: [...f.labels], registers };
      return [f, f.type === 'gauge' ? new Gauge(options) : new Counter(options)] as const;
    });
    this.#delays.enable();
    this.#stalls = new Gauge({
      name: 'vrfs_event_loop_stall_seconds', help: 'How late the event loop was since the last scrape, over moments 10 ms apart; the default nodejs_eventloop_lag_* have those 10 ms in them.',
      labelNames: ['quantile'], registers,
    });
    this.#requests = new Counter({ name: 'vrfs_http_requests_total', help: 'HTTP requests answered.', labelNames: ['method', 'route', 'status'], registers });
    this.#seconds = new Histogram({ name: 'vrfs_http_request_seconds', help: 'Time from the headers of a request to the end of its answer.', labelNames: ['method', 'route'], buckets: BUCKETS, registers });
    this.#held = new Gauge({ name: 'vrfs_http_held_bytes', help: 'Memory held for HTTP connections: for files on their way out (reads), bodies on their way in (bodies), those of replicas that fetch the state (transfers).', labelNames: ['of'], registers });
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  /** `route`: the pattern, never the URL, so that the number of series is bounded. */
  observe(method: string, route: string, status: number, milliseconds: number): void {
    this.#requests.inc({ method, route, status }, 1);
    this.#seconds.observe({ method, route }, milliseconds / 1000);
  }

  /** The text of a scrape. */
  async render(): Promise<string> {
    const status = this.#running.status();
    for (const [f, metric] of this.#families) {
      metric.reset();
      const values = f.values(status, this.#running);
      for (const [labels, value] of values) metric.inc({ ...labels }, value);
      // Without labels a metric begins at 0, which here would be a value that nobody has seen.
      if (values.length === 0) metric.remove({});
    }
    for (const quantile of STALL_QUANTILES) {
      const nanoseconds = quantile === 1 ? this.#delays.max : this.#delays.percentile(quantile * 100);
      this.#stalls.set({ quantile: String(quantile) }, Math.max(0, nanoseconds / 1e9 - MONITOR_MS / 1000));
    }
    this.#delays.reset();
    for (const [of, rooms] of Object.entries(this.#rooms)) this.#held.set({ of }, (rooms as Rooms).held);
    const timings = this.#running.timings();
    const histograms = HISTOGRAMS.map(([name, help, counts]) => histogramText(name, help, counts(timings)));
    return await this.#registry.metrics() + histograms.join('');
  }

  /** Ends the event-loop monitors, this one and that of the default metrics. */
  close(): void {
    this.#delays.disable();
    this.#registry.clear();
  }
}
