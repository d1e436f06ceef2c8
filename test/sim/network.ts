/**
 * The network between replicas and clients. Every message is encoded once when it is sent and decoded at each
 * delivery, so that nothing passes by reference and the codecs are under test too. What happens to a message on its
 * way (lost, repeated, late, held) is the policy's decision.
 */
import { assert } from '../../lib/assert.ts';
import { encodeMessage, decodeMessage } from '../../vr/message_codec.ts';
import type { Message } from '../../vr/messages.ts';
import type { Coverage } from './coverage.ts';
import type { EventQueue } from './event_queue.ts';
import type { Trace } from './trace.ts';

/** Hosts count from 0, those that join later too; clients and the administrator from FIRST_CLIENT on. */
export type Endpoint = number;
export const FIRST_CLIENT = 100;

export interface Packet {
  readonly from: Endpoint;
  readonly to: Endpoint;
  readonly message: Message;
  /** The sender's incarnation, or a client's process. */
  readonly label: number;
  /** The sender's, of messages between replicas; else 0. */
  readonly epoch: number;
}

export interface Policy {
  /** Delays, in whole milliseconds, of each copy that arrives; empty: the message is lost. */
  route(packet: Packet): readonly number[];
}

export interface NetworkHooks {
  /** A copy has arrived. */
  deliver(to: Endpoint, from: Endpoint, label: number, message: Message, epoch: number): void;
}

export class SimulatedNetwork {
  policy: Policy;
  readonly #queue: EventQueue;
  readonly #hooks: NetworkHooks;
  readonly #trace: Trace;
  readonly #coverage: Coverage;

  constructor(queue: EventQueue, policy: Policy, hooks: NetworkHooks, trace: Trace, coverage: Coverage) {
    this.#queue = queue;
    this.policy = policy;
    this.#hooks = hooks;
    this.#trace = trace;
    this.#coverage = coverage;
  }

  /** @param label travels along: the sender's incarnation, or a client's process. */
  send(from: Endpoint, to: readonly Endpoint[], label: number, message: Message, epoch = 0): void {
    const bytes = encodeMessage(message);
    this.#coverage.count('messages', to.length);
    for (const destination of to) {
      const delays = this.policy.route({ from, to: destination, message, label, epoch });
      if (delays.length === 0) this.#coverage.count('drops');
      else if (delays.length > 1) this.#coverage.count('duplicates', delays.length - 1);
      if (this.#trace.enabled) this.#trace.line(`${endpoint(from)} -> ${endpoint(destination)} ${describe(message)} ${delays.length === 0 ? 'LOST' : `in ${delays.join(', ')}`}`);
      for (const delay of delays) this.#carry({ from, to: destination, label, epoch }, bytes, delay);
    }
  }

  /** Delivers a message that a policy has kept back, now. */
  release(packet: Packet): void {
    if (this.#trace.enabled) this.#trace.line(`${endpoint(packet.from)} -> ${endpoint(packet.to)} ${describe(packet.message)} RELEASED`);
    this.#carry(packet, encodeMessage(packet.message), 1);
  }

  #carry({ from, to, label, epoch }: Omit<Packet, 'message'>, bytes: Buffer, delay: number): void {
    this.#queue.after(delay, () => {
      // Each receiver gets its own bytes: nobody can see what another does with them.
      const decoded = decodeMessage(bytes);
      assert(decoded.ok, decoded.ok ? '' : `a message that was sent does not decode: ${decoded.reason}`);
      this.#trace.mix((from << 16) ^ (to << 8) ^ bytes.length);
      this.#trace.mix(this.#queue.now);
      this.#hooks.deliver(to, from, label, decoded.value, epoch);
    });
  }
}

function endpoint(e: Endpoint): string {
  return `#${e}`;
}

/** One line for traces: the fields that matter in a dispute. */
export function describe(m: Message): string {
  switch (m.type) {
    case 'hello': return 'Hello';
    case 'welcome': return `Welcome v=${m.view}`;
    case 'register': return `Register ${m.nonce.toString('hex', 0, 3)}`;
    case 'registered': return `Registered ${m.nonce.toString('hex', 0, 3)} session=${m.session}`;
    case 'request': return `Request ${m.session}/${m.slot}/${m.seq}`;
    case 'reply': return `Reply ${m.session}/${m.slot}/${m.seq} v=${m.view} op=${m.op}`;
    case 'read': return `Read ${m.id} ${m.consistency} min=${m.minOp}`;
    case 'readReply': return `ReadReply ${m.id} op=${m.op}`;
    case 'redirect': return `Redirect v=${m.view}`;
    case 'reject': return `Reject ${m.code} ${m.session}/${m.slot}/${m.seq}/${m.id} (${m.reason})`;
    case 'prepare': return `Prepare v=${m.view} k=${m.commit} ops=${m.after + 1}..${m.after + m.entries.length} round=${m.round}`;
    case 'prepareOk': return `PrepareOk v=${m.view} n=${m.op} round=${m.round}`;
    case 'commit': return `Commit v=${m.view} k=${m.commit} head=${m.head} round=${m.round}`;
    case 'startViewChange': return `StartViewChange v=${m.view}${m.left ? ' left' : ''}`;
    case 'doViewChange': return `DoViewChange v=${m.view} v'=${m.logView} n=${m.op} k=${m.commit} base=${m.claim.base} bodies=${m.claim.entries.length}`;
    case 'startView': return `StartView v=${m.view} n=${m.op} k=${m.commit} base=${m.claim.base} bodies=${m.claim.entries.length}${m.nonce.length > 0 ? ' asked' : ''}`;
    case 'getView': return `GetView v=${m.view}`;
    case 'getState': return `GetState v=${m.view} after=${m.after}${m.repairHead === null ? '' : ` repair=${m.repairHead.op}`}`;
    case 'newState':
      if (m.kind === 'entries') return `NewState v=${m.view} ops=${m.after + 1}..${m.after + m.entries.length} n=${m.op} k=${m.commit}`;
      if (m.kind === 'checkpoint') return `NewState v=${m.view} checkpoint=${m.checkpoint.op}`;
      return `NewState v=${m.view} mismatch after=${m.after}`;
    case 'recovery': return `Recovery floor=${m.floor} checkpoint=${m.checkpoint}`;
    case 'recoveryResponse': return `RecoveryResponse v=${m.view}${m.state === null ? '' : ` n=${m.state.op} k=${m.state.commit} checkpoint=${m.state.checkpoint.op}`}`;
    case 'checkpointNotice': return `CheckpointNotice op=${m.checkpoint.op}`;
    case 'keepLog': return `KeepLog ${m.after === null ? 'no more' : `after=${m.after}`}`;
    case 'endSession': return `EndSession ${m.session}`;
    case 'reconfigure': return `Reconfigure e=${m.epoch} ${m.members.map((x) => `${x.id}:${x.role}`).join(',')}${m.force ? ' force' : ''}`;
    case 'checkEpoch': return 'CheckEpoch';
    case 'newEpoch': return `NewEpoch v=${m.view} e=${m.configuration.epoch}${m.complete ? ' complete' : ''}`;
    case 'askInterval': return `AskInterval${m.change === null ? '' : ` O=${m.change.ops} B=${m.change.bytes} after ${m.change.after}`}`;
    case 'interval': return `Interval O=${m.ops} B=${m.bytes} since ${m.since}`;
    case 'refused': return `Refused ${m.code} (${m.reason})`;
    case 'startEpoch': return `StartEpoch e=${m.configuration.epoch} n=${m.start.op}`;
    case 'epochStarted': return `EpochStarted e=${m.epoch}`;
    default: return m satisfies never;
  }
}
