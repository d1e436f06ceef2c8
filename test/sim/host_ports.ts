/** The ports of one process on a simulated machine: wires the replica to the machine's disks, clocks and the network, past the checkers. */
import type { MemberId } from '../../lib/ids.ts';
import type { Prng } from '../../lib/prng.ts';
import type { Message } from '../../vr/messages.ts';
import type { CheckpointPort, Journal, Ports, SuperblockStore } from '../../vr/ports.ts';
import type { Host, HostWorld } from './host.ts';

export interface ProcessContext {
  readonly host: Host;
  readonly world: HostWorld;
  readonly random: Prng;
  readonly journal: Journal;
  readonly superblock: SuperblockStore;
  readonly checkpoints: CheckpointPort;
  /** The client's process behind a connection of this process. */
  clientOf(connection: number): number | undefined;
  /** The clients' processes that are connected to this one. */
  clients(): Iterable<number>;
  /** Opens connections with these, and closes the others. */
  connect(peers: ReadonlySet<MemberId>): void;
  /** Another process runs by now. */
  superseded(): boolean;
}

export function makePorts(context: ProcessContext): Ports {
  const { host, world, random, journal, superblock, checkpoints } = context;
  const { observer, network, coverage, trace } = world;
  const inner = world.stateMachine(checkpoints.table);
  const settled = (): boolean => inner.housekeeping() === undefined;
  const transmit = (to: readonly MemberId[], message: Message): void => {
    // There is a connection when either knows the other: one of the two has opened it.
    const receivers = to.filter((id) => host.knows(id) || world.hostOf(id).knows(host.id));
    if (receivers.length < to.length) coverage.count('messages to nobody', to.length - receivers.length);
    if (receivers.length === 0) return;
    observer.sent(host, message);
    network.send(host.index, receivers.map((id) => world.endpointOf(id)), host.incarnation, message, host.epoch);
  };
  return {
    network: {
      setPeers: (peers) => { context.connect(new Set(peers.map((m) => m.id))); },
      send: (to, message) => transmit([to], message),
      broadcast: transmit,
      reply: (connection, message) => {
        const client = context.clientOf(connection);
        if (client !== undefined) world.replyTo(client, host, message);
      },
      welcomeAgain: () => {
        for (const client of context.clients()) world.welcome(client, host);
      },
    },
    journal,
    superblock: {
      write: (s) => {
        host.epoch = s.configuration.epoch;
        observer.actsBy(host, s.configuration);
        return superblock.write(s);
      },
    },
    checkpoints: {
      table: checkpoints.table,
      take: (at, leftOut) => {
        observer.takes(host, at.op);
        checkpoints.take(at, leftOut);
      },
      fetch: (request) => { checkpoints.fetch(request); },
    },
    stateMachine: {
      execute: (entry) => {
        const result = inner.execute(entry);
        observer.executed(host, entry, result, settled);
        return result;
      },
      sessionStarted: (entry, flags) => {
        inner.sessionStarted(entry, flags);
        observer.sessionStarted(host, entry, flags);
      },
      sessionEnded: (entry, session) => {
        inner.sessionEnded(entry, session);
        observer.sessionEnded(host, entry, session);
      },
      query: (body, time) => {
        const result = inner.query(body, time);
        observer.queried(host, body, result);
        return result;
      },
      checkpointAsked: () => inner.checkpointAsked(),
      housekeeping: () => inner.housekeeping(),
    },
    clock: { wall: () => host.clock.wall(), monotonic: () => host.clock.monotonic() },
    random: { bytes: (n) => random.bytes(n), uint32: () => random.uint32() },
    events: {
      event: (name, data) => {
        if (context.superseded()) return;
        coverage.count(`event ${name}`);
        observer.event(host, name, data);
        if (trace.enabled) trace.line(`#${host.index} ${name} ${Object.entries(data).map(([k, v]) => `${k}=${v}`).join(' ')}`);
      },
    },
  };
}
