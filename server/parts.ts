/** What a replica process is made of: the files and sockets behind the ports, put together once for each opening of the data directory, and closed in order. */
import type { FileSystemStatistics } from '../fsservice/operations.ts';
import { FileSystemService } from '../fsservice/service.ts';
import type { ClientRequest, Envelope, ReplicaMessage, Welcome } from '../vr/messages.ts';
import type { ConnectionId } from '../vr/ports.ts';
import type { Replica } from '../vr/replica.ts';
import type { CheckpointId } from '../vr/superblock.ts';
import type { Boot } from './boot.ts';
import { DonorClient, StoreCheckpoints } from './checkpoint_port.ts';
import { ClientLinks } from './client_links.ts';
import type { ServerConfig } from './config.ts';
import { connectionShares, descriptorLimit } from './descriptors.ts';
import { LinkLog } from './link_log.ts';
import { Listener } from './listener.ts';
import type { Log } from './log.ts';
import { PeerLinks } from './peer_links.ts';
import { RecoveryTracker } from './recovery_tracker.ts';
import { SuperblockFile, type SuperblockFileOptions } from './superblock_file.ts';

/** What the parts tell the process, and ask of it. */
export interface PartsOwner {
  readonly config: ServerConfig;
  readonly log: Log;
  /** For tests: see superblock_file.ts. */
  readonly writeCopy: SuperblockFileOptions['writeCopy'];
  readonly envelope: () => Envelope;
  readonly welcome: () => Welcome;
  /** The turn has to be ended: see turn.ts. */
  readonly requestTurn: () => void;
  readonly fatal: (error: unknown) => void;
  readonly step: (from: Envelope, message: ReplicaMessage, bytes: number) => void;
  readonly receive: (connection: ConnectionId, message: ClientRequest) => void;
  /** Gives the replica an input, if there is one. */
  readonly run: (input: (replica: Replica) => void) => void;
  /** This checkpoint is here now. */
  readonly onCheckpoint: (id: CheckpointId) => void;
}

export interface Parts {
  readonly boot: Boot;
  readonly store: Boot['store'];
  readonly journal: Boot['journal'];
  readonly recovery: RecoveryTracker;
  readonly peers: PeerLinks;
  readonly linkLog: LinkLog;
  readonly clients: ClientLinks;
  readonly listener: Listener;
  readonly superblock: SuperblockFile;
  readonly donors: DonorClient;
  readonly checkpoints: StoreCheckpoints;
  readonly service: FileSystemService;
  /** Null until the port is open, and from the moment on in which its records are found damaged. */
  replica: Replica | null;
  closed: boolean;
}

export function assemble(booted: Boot, owner: PartsOwner): Parts {
  const { data, store, journal } = booted;
  const { config, log, requestTurn } = owner;
  const recovery = new RecoveryTracker(log, booted.state, booted.tornBytes, () => {
    const { recordBytes, overlayBytes, frozenBytes } = store.status();
    return recordBytes + overlayBytes + frozenBytes;
  });
  const linkLog = new LinkLog(log);
  const peers = new PeerLinks({
    clusterId: data.clusterId, self: data.memberId, instance: data.superblock.instance, pins: booted.pins, requestTurn,
    envelope: owner.envelope,
    onMessage: (from, message, bytes) => {
      linkLog.heard(from.sender);
      owner.step(from, message, bytes);
    },
    onConnected: (member) => {
      linkLog.connected(member);
      owner.run((replica) => { replica.onConnected(); });
    },
    onDisconnected: (member, reason) => { linkLog.lost(member, reason); },
    onRefused: (member, reason) => { linkLog.refused(member, reason); },
  });
  const shares = connectionShares(descriptorLimit());
  const maxConnections = Math.min(config.maxClientConnections, shares.clients);
  const clients = new ClientLinks({
    clusterId: data.clusterId, maxConnections, requestTurn, sessionSlots: config.sessionSlots,
    welcome: owner.welcome,
    onMessage: owner.receive,
    onRejected: (remote, reason) => { log.warn({ remote, reason }, 'a client was turned away'); },
  });
  const listener = new Listener({ peers, clients, maxStrangers: shares.strangers, requestTurn, onRefused: (remote, reason) => { log.warn({ remote, reason }, 'a connection was refused'); } });
  const superblock = new SuperblockFile({
    directory: data.root, sequence: data.superblockSequence, fatal: owner.fatal, writeCopy: owner.writeCopy,
    onDurable: (ticket) => { owner.run((replica) => { replica.onSuperblockDurable(ticket); }); },
  });
  const donors = new DonorClient(data.clusterId);
  const checkpoints = checkpointsOf(booted, donors, recovery, owner);
  const service = new FileSystemService(checkpoints.table);
  return { boot: booted, store, journal, recovery, peers, linkLog, clients, listener, superblock, donors, checkpoints, service, replica: null, closed: false };
}

/** Null: there is no state here that may be read. Throws what reading the records does. */
export function namespaceOf({ replica, service }: Parts): FileSystemStatistics | null {
  return replica === null || replica.isWitness || !replica.execution.ready ? null : service.statistics();
}

function checkpointsOf({ store, data }: Boot, donors: DonorClient, recovery: RecoveryTracker, { run, onCheckpoint, fatal }: PartsOwner): StoreCheckpoints {
  return new StoreCheckpoints({
    store, donors, fatal, self: data.memberId,
    onDurable: (id) => {
      onCheckpoint(id);
      run((replica) => { replica.onCheckpointDurable(id); });
    },
    onInstalled: (id, report) => {
      onCheckpoint(id);
      recovery.onTransfer(report);
      run((replica) => { replica.onStateInstalled(id); });
    },
    onFetchFailed: (reason, intact) => {
      recovery.onTransferFailed();
      run((replica) => { replica.onStateFetchFailed(reason, intact); });
    },
    onProgress: (op, progress) => { recovery.onProgress(op, progress); },
  });
}

export async function closeParts(parts: Parts): Promise<void> {
  if (parts.closed) return;
  parts.closed = true;
  parts.listener.stopAccepting();
  parts.peers.stop();
  parts.clients.stop();
  await parts.listener.close();
  parts.boot.room.close();
  await parts.checkpoints.close();
  await parts.donors.close();
  await parts.journal.close();
  await parts.superblock.close();
  await parts.store.close();
  await parts.boot.data.close();
}
