/** All checkers of PROTOCOL section 4, fed with what happens in a cluster as it happens. */
import { assert } from '../../lib/assert.ts';
import { viewEpoch, type Epoch, type View } from '../../lib/ids.ts';
import type { ClientFailure } from '../../vr/client.ts';
import { decodeRegisterBody } from '../../vr/client_table.ts';
import { memberOf, type Configuration } from '../../vr/configuration.ts';
import type { Entry } from '../../vr/entry.ts';
import type { ClientToReplica, Message } from '../../vr/messages.ts';
import type { Superblock } from '../../vr/superblock.ts';
import { CheckpointPoints } from '../checkers/checkpoint_points.ts';
import { CheckpointRoots } from '../checkers/checkpoint_roots.ts';
import { ClientOrder } from '../checkers/client_order.ts';
import { CommitChain } from '../checkers/commit_chain.ts';
import { ExactlyOnce } from '../checkers/exactly_once.ts';
import { checkSending, checkSuperblocks } from '../checkers/order_of_effects.ts';
import { ReplyChecker } from '../checkers/sequential_model.ts';
import { SurvivingCommits } from '../checkers/surviving_commits.ts';
import { checkVoice } from '../checkers/voices.ts';
import { ensure, Violation } from '../checkers/violation.ts';
import { rootOfRecords } from './checkpoints.ts';
import type { SimulatedClient, Invocation } from './client.ts';
import type { Cluster } from './cluster.ts';
import type { Host, HostObserver } from './host.ts';

export class Checkers implements HostObserver {
  readonly chain = new CommitChain();
  readonly surviving = new SurvivingCommits(this.chain);
  readonly once = new ExactlyOnce();
  readonly order: ClientOrder;
  readonly roots = new CheckpointRoots();
  readonly points = new CheckpointPoints();
  readonly replyChecker: ReplyChecker;
  readonly #cluster: Cluster;
  /** Bounded reads under way, by client process and id: the bound, milliseconds. */
  readonly #bounded = new Map<string, number>();
  /** Of operations that were executed: their results, by op. */
  readonly #results: Buffer[] = [];

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
    this.order = new ClientOrder(() => cluster.now);
    const { application } = cluster.options;
    this.replyChecker = new ReplyChecker(() => application.model());
  }

  get floor(): number {
    return this.order.floor;
  }

  // --- replicas --------------------------------------------------------------------------------------------------------

  booted(host: Host): void {
    this.chain.restart(host.index, host.checkpointDisk.durable?.op ?? 0);
    this.points.restart(host.index, host.checkpointDisk.durable?.op ?? 0);
  }

  sent(host: Host, m: Message): void {
    if (this.#cluster.options.checkOrderOfEffects ?? true) {
      checkSending(host.index, host.incarnation, this.#cluster.options.durability, {
        superblock: host.superblockDisk.current, op: Math.max(host.journalDisk.head, this.#stateOf(host)), journalLogView: host.journalDisk.logView,
      }, m);
    }
    checkVoice(host.id, m, (at) => this.#cluster.membership.of(at));
    if (m.type === 'epochStarted') this.#cluster.membership.started(host.id, m.epoch);
    // One that was restarted in the epoch need not say more than that.
    if (m.type === 'prepareOk' && !this.#lacksSomething(host)) this.#cluster.membership.started(host.id, viewEpoch(m.view));
    if (m.type === 'startView') this.surviving.startView(host.index, m);
    if (m.type === 'doViewChange' || m.type === 'startView' || m.type === 'recovery') this.#cluster.coverage.count(`sent ${m.type}`);
  }

  /** Up to where a durable state stands for the log: a witness has none, but what its superblock names is held by all voters. */
  #stateOf(host: Host): number {
    if (this.#cluster.membership.witnesses && this.#isWitness(host, host.epoch)) return host.superblockDisk.current.checkpoint.op;
    return host.checkpointDisk.durable?.op ?? 0;
  }

  /** A witness has not started an epoch before what its log lacks is held by the voters of this one. */
  #lacksSomething(host: Host): boolean {
    return this.#isWitness(host, host.epoch) && host.replica.log.base > host.superblockDisk.current.heldByAll;
  }

  #isWitness(host: Host, epoch: number): boolean {
    const c = this.#cluster.membership.of(epoch);
    return c !== undefined && memberOf(c, host.id)?.role === 'witness';
  }

  actsBy(host: Host, configuration: Configuration): void {
    const { membership, coverage } = this.#cluster;
    const isNew = membership.of(configuration.epoch) === undefined;
    const { promotions } = membership;
    membership.begun(configuration);
    if (isNew) coverage.count('epochs');
    if (membership.promotions > promotions) coverage.count('automatic promotions');
  }

  event(host: Host, name: string, data: Readonly<Record<string, string | number | boolean>>): void {
    if (name === 'checkpoint-skipped') this.points.reached(host.index, Number(data.op));
    if (name !== 'normal' && name !== 'started') return;
    if (this.#lacksSomething(host)) return;
    if (name === 'normal') this.#cluster.membership.started(host.id, viewEpoch(data.view as View));
    // Its process died when that was durable, and before it could say so.
    if (name === 'started' && data.usable === true) this.#cluster.membership.started(host.id, data.epoch as Epoch);
  }

  replies(host: Host, m: Message, process: number): void {
    if (m.type !== 'readReply') return;
    const bound = this.#bounded.get(`${process}/${m.id}`);
    if (bound !== undefined) {
      this.order.boundedReadAnswered(`#${host.index}'s answer to a read`, m.op, bound);
      this.#cluster.coverage.count('bounded reads at replicas');
    }
    const { executed } = host.replica;
    ensure(m.op === executed, 'reads see committed state', () => `#${host.index} answers a read with op ${m.op}, it has executed ${executed}`);
  }

  executed(host: Host, entry: Entry, result: Buffer, settled: () => boolean): void {
    // It reads the state, and may meet a rotten record: the replica stops then, and another is the first to execute this.
    const isSettled = entry.op > this.chain.head && settled();
    if (!this.#chained(host, entry, result)) return;
    this.once.executed(entry);
    this.#results[entry.op] = result;
    this.replyChecker.executed(entry, result, isSettled);
    this.#cluster.coverage.count(entry.kind === 'request' ? 'operations' : 'housekeeping steps');
  }

  sessionStarted(host: Host, entry: Entry): void {
    if (!this.#chained(host, entry, null)) return;
    const body = decodeRegisterBody(entry.body);
    assert(body.ok, 'a committed registration decodes');
    this.once.sessionStarted(entry, body.value.nonce);
    this.replyChecker.sessionStarted(entry);
    this.#cluster.coverage.count('sessions');
  }

  sessionEnded(host: Host, entry: Entry, session: number): void {
    // A registration may evict a session first; the registration itself is the entry's execution.
    if (entry.kind === 'register' ? entry.op <= this.chain.head : !this.#chained(host, entry, null)) return;
    this.once.sessionEnded(session);
    this.replyChecker.sessionEnded(entry, session);
    this.#cluster.coverage.count('sessions expired');
  }

  queried(): void {
    this.#cluster.coverage.count('reads at replicas');
  }

  takes(host: Host, op: number): void {
    this.points.reached(host.index, op);
  }

  checkpointDurable(host: Host, op: number, root: string): void {
    this.roots.durable(host.index, op, root);
  }

  stateInstalled(host: Host, op: number): void {
    this.chain.restart(host.index, op);
    this.points.restart(host.index, op);
  }

  /** What a turn has executed; a witness executes nothing, and takes no checkpoints. */
  turn(host: Host): void {
    const { isWitness, executed } = host.replica;
    if (isWitness) this.points.restart(host.index, executed);
    else this.points.executed(host.index, executed);
  }

  failed(host: Host, error: unknown): void {
    if (error instanceof Violation) throw error;
    const { message, stack } = error instanceof Error ? error : new Error(String(error));
    const failure = new Violation('a replica stops itself', `#${host.index}: ${message}`);
    failure.stack = `${failure.name}: ${failure.message}\n${stack ?? ''}`;
    throw failure;
  }

  superblock(host: Host, before: Superblock, now: Superblock): void {
    checkSuperblocks(host.index, before, now, host.stateLost);
  }

  /** These have converged: they have all that was ever committed, and the same records, whatever no result has shown yet. */
  converged(hosts: readonly Host[]): void {
    const head = Math.max(this.chain.head, this.order.acknowledged);
    for (const host of hosts) ensure(host.status.op >= head, 'committed ops survive', () => `#${host.index} has converged at op ${host.status.op}, op ${head} was committed`);
    this.equalStates(hosts);
  }

  /** Those of them that execute are at the same op, and have the same records. */
  equalStates(hosts: readonly Host[]): void {
    const states = hosts.filter((h) => !h.replica.isWitness).map((h) => ({ host: h.index, op: h.status.executed, root: rootOfRecords(h.status.executed, h.checkpoints.records()) }));
    for (const { host, op, root } of states.slice(1)) {
      ensure(root === states[0]?.root, 'equal states', () => `#${states[0]?.host} and #${host} have executed op ${op}, and have different records`);
    }
    this.#cluster.coverage.count('states compared', states.length);
  }

  #chained(host: Host, entry: Entry, result: Buffer | null): boolean {
    this.#cluster.trace.mix(entry.op);
    if (this.#cluster.membership.witnesses) this.#executes(host, entry);
    const first = this.chain.executed(host.index, entry, result);
    if (first) this.surviving.committed(entry.op, host.replica.view);
    return first;
  }

  #executes(host: Host, entry: Entry): void {
    ensure(!this.#isWitness(host, entry.epoch) || !this.#isWitness(host, host.epoch), 'witnesses execute nothing', () => `#${host.index} executes op ${entry.op}`);
  }

  // --- clients ---------------------------------------------------------------------------------------------------------

  clientSends(m: ClientToReplica, process: number): void {
    if (m.type === 'read' && m.consistency === 'bounded') this.#bounded.set(`${process}/${m.id}`, m.maxStalenessMs);
    if (m.type === 'request') this.once.requested(m.session, m.slot, m.seq, m.body);
    else if (m.type === 'register') this.once.registering(m.nonce);
  }

  completed(client: SimulatedClient, invocation: Invocation, result: Buffer, op: number): void {
    const what = `client #${client.endpoint}'s ${invocation.read ?? 'write'} ${invocation.id}`;
    if (invocation.read === null) {
      this.order.writeAnswered(what, op, invocation.floor, this.once.opOfOperation(invocation.body), result, this.#results[op]);
      this.#cluster.coverage.count('writes answered');
      return;
    }
    this.order.readAnswered(what, op, invocation.read === 'linearizable' ? invocation.floor : null, invocation.minOp);
    this.replyChecker.read(what, op, invocation.body, result);
    this.#cluster.coverage.count(`${invocation.read} reads answered`);
  }

  clientFailed(invocation: Invocation, failure: ClientFailure): void {
    // A promise that it was not executed holds until now; that it will not be executed later shows at the end.
    if (failure.mayHaveHappened || invocation.read !== null) return;
    this.once.disowned(invocation.body);
    this.#cluster.coverage.count('promises that nothing happened');
  }

  /** When the run is over. */
  finish(): void {
    this.#cluster.coverage.count('reads of older states', this.replyChecker.replayPastReads());
  }
}
