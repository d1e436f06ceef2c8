/** One change of the members of a group, with what is told of it on the way: behind `vrfs members add`, `remove`, `replace` and `set-role`. */
import { Administrator } from '../client/administrator.ts';
import { ChangeRefused, NoAnswer } from '../client/administrator_errors.ts';
import { introduce } from '../client/line.ts';
import { parseDestination } from '../lib/address.ts';
import { defined } from '../lib/assert.ts';
import type { MemberId } from '../lib/ids.ts';
import { isElector, memberOf, primaryOf, type Configuration, type Member } from '../vr/configuration.ts';
import type { NewEpoch } from '../vr/messages.ts';
import { statusOf } from './commands/group.ts';
import { serversOf, type ConnectionOptions } from './connected.ts';
import { UsageError } from './failure.ts';
import { byId } from './group_members.ts';
import { note, print, type Io } from './io.ts';

export interface ChangeOptions extends ConnectionOptions {
  readonly force?: boolean;
}

/** Of a node that cannot be asked who it is. */
export interface Identity {
  readonly id: MemberId;
  readonly httpAddress: string;
}

const INTRODUCTION_MS = 3000;
const POLL_MS = 200;
/** A node has caught up when it lacks so few operations; the primary, which is asked next, says it for certain. */
const NEARLY = 1000;
/** A member that has caught up may not have been heard to say so yet: so often it is asked again. */
const RETRIES = 20;

export class MemberChange {
  readonly administrator: Administrator;
  readonly #io: Io;
  readonly #options: ChangeOptions;
  #told = '';

  constructor(io: Io, options: ChangeOptions) {
    this.#io = io;
    this.#options = options;
    this.administrator = new Administrator(serversOf(options, io), options.timeout, (what) => this.#tell(`waiting: ${what}`, { phase: 'waiting', reason: what }));
  }

  get #force(): boolean {
    return this.#options.force === true;
  }

  /** For programs one object a line, on the standard output. */
  async #tell(text: string, data: Readonly<Record<string, unknown>>): Promise<void> {
    if (text === this.#told) return;
    this.#told = text;
    if (this.#options.json === true) await print(this.#io, JSON.stringify(data));
    else await note(this.#io, text);
  }

  /** The nodes at these addresses: new ones that wait to be members, as observers, or members already. `identity`: of one that does not answer, if forced. */
  async newNodes(addresses: readonly string[], identity: Identity | null): Promise<Member[]> {
    for (const address of addresses) {
      const parsed = parseDestination(address);
      if (!parsed.ok) throw new UsageError(parsed.reason);
    }
    const { configuration: c } = await this.administrator.current();
    const nodes: Member[] = [];
    for (const address of addresses) nodes.push(c.members.find((m) => m.address === address) ?? await this.#newNode(address, c, identity));
    return nodes;
  }

  async #newNode(address: string, c: Configuration, identity: Identity | null): Promise<Member> {
    const group = defined(this.administrator.clusterId ?? undefined, 'a group that has answered');
    let welcome;
    try {
      welcome = await introduce(address, INTRODUCTION_MS);
    } catch (error) {
      if (!(error instanceof NoAnswer)) throw error;
      if (!this.#force || identity === null) {
        throw new NoAnswer(`${error.message}. Start it with "vrfs serve --join", and see that it can be reached from here. To take it in all the same, say who it is, as its log does: --force --id <member id> --http-address <host:port>`, { cause: error });
      }
      await this.#tell(`${address}: not reached (${error.message}); taken in as node ${identity.id}`, { phase: 'unreached', address, id: identity.id, error: error.message });
      return { ...identity, role: 'observer', address };
    }
    if (!welcome.clusterId.equals(group)) {
      throw new UsageError(`${address} belongs to another group, ${welcome.clusterId.toString('hex')}, not to ${group.toString('hex')}: start a node for this one with "vrfs serve --join" in an empty data directory`);
    }
    const known = memberOf(c, welcome.self);
    const as = known?.address ?? welcome.address;
    await this.#tell(`${address}: reached, node ${welcome.self}${as === address ? '' : `, which the others find at ${as}`}`, { phase: 'reached', address: as, id: welcome.self });
    return known ?? { id: welcome.self, role: 'observer', address: welcome.address, httpAddress: welcome.httpAddress };
  }

  /** First as observers, until they have caught up; then as what they are to be. Forced: at once, and nobody is waited for. */
  async warmed(nodes: readonly Member[], wanted: (c: Configuration) => readonly Member[]): Promise<void> {
    if (this.#force) return await this.to(wanted);
    await this.#apply((c) => {
      const missing = nodes.filter((m) => memberOf(c, m.id) === undefined);
      return [...c.members, ...missing.map((m): Member => ({ ...m, role: 'observer' }))];
    });
    for (const node of nodes) await this.#warm(node);
    await this.done(await this.#apply(wanted, nodes));
  }

  /** Until it is seen to have caught up, or that cannot be seen from here: then the primary says when it has. */
  async #warm(node: Member): Promise<void> {
    for (;;) {
      const { configuration: c, view } = await this.administrator.current();
      if (isElector(c, node.id)) return;
      const [own, leader] = await Promise.all([node, primaryOf(c, view)].map((m) => statusOf(m, INTRODUCTION_MS)));
      const unseen = [own, leader].find((a) => a !== undefined && 'error' in a);
      if (own === undefined || leader === undefined || !('status' in own) || !('status' in leader)) {
        const error = unseen !== undefined && 'error' in unseen ? unseen.error : 'no status';
        return await this.#tell(`${node.address}: how far it is cannot be seen from here (${error}); the primary says when it has caught up`, { phase: 'unseen', address: node.address, error });
      }
      const [at, op] = [own.status.executed, leader.status.op];
      const percent = op === 0 ? 0 : Math.min(100, Math.floor((at / op) * 100));
      const trouble = own.status.healthy ? null : own.status.unhealthyReason ?? 'it is not healthy';
      const progress = `warmed ${percent} % (op ${at} of ${op})${trouble === null ? '' : `: ${trouble}`}`;
      await this.#tell(`${node.address}: ${progress}`, { phase: 'warming', address: node.address, percent, executed: at, op, ...(trouble === null ? {} : { trouble }) });
      if (op > 0 && at + NEARLY >= op) return;
      await this.administrator.pause(`${node.address} was to catch up, and is ${progress}. ${goesOn([node])}`, POLL_MS);
    }
  }

  async to(wanted: (c: Configuration) => readonly Member[]): Promise<void> {
    await this.done(await this.#apply(wanted));
  }

  /** `waitingFor`: nodes that may take their time to be ready. */
  async #apply(wanted: (c: Configuration) => readonly Member[], waitingFor: readonly Member[] = []): Promise<NewEpoch> {
    const before = await this.administrator.complete();
    const members = wanted(before.configuration);
    if (sameMembers(members, before.configuration.members)) return before;
    for (let attempt = 0; ; attempt++) {
      try {
        const now = await this.administrator.reconfigure(before.configuration.epoch, members, this.#force);
        if (!sameMembers(members, now.configuration.members)) {
          throw new ChangeRefused('underWay', `somebody else has changed the members meanwhile (epoch ${now.configuration.epoch}: ${describe(now.configuration)}): look (vrfs members), and ask again`);
        }
        await this.#tell(`epoch ${now.configuration.epoch} begins: ${describe(now.configuration)}`, { phase: 'starting', epoch: now.configuration.epoch });
        return await this.administrator.complete();
      } catch (error) {
        if (!(error instanceof ChangeRefused && error.code === 'unready') || (waitingFor.length === 0 && attempt >= RETRIES)) throw error;
        await this.#tell(`not yet: ${error.message}`, { phase: 'waiting', reason: error.message });
        await this.administrator.pause(`the group refuses, and says: ${error.message}.${waitingFor.length === 0 ? '' : ` ${goesOn(waitingFor)}`}`, POLL_MS);
      }
    }
  }

  async done(now: NewEpoch): Promise<void> {
    const c = now.configuration;
    await this.#tell(`done: epoch ${c.epoch}: ${describe(c)}`, { phase: 'done', epoch: c.epoch, members: byId(c) });
  }
}

/** What becomes of nodes that were not waited for to the end. */
function goesOn(nodes: readonly Member[]): string {
  return `It is an observer and goes on catching up; look at it (vrfs status, its log). The same command again waits on, and vrfs members remove ${nodes.map((m) => m.id).join(' ')} takes it out`;
}

function sameMembers(a: readonly Member[], b: readonly Member[]): boolean {
  return a.length === b.length && a.every((m) => b.some((o) => o.id === m.id && o.role === m.role));
}

function describe(c: Configuration): string {
  return byId(c).map((m) => `${m.address}${m.role === 'voter' ? '' : ` (${m.role})`}`).join(', ');
}
