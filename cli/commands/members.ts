/** Who belongs to the group, and changing it while it runs: vrfs members, add, remove, replace, set-role. */
import { Option, type Command } from 'commander';
import { Administrator, introduce, NoAnswer } from '../../client/administrator.ts';
import { parseDestination } from '../../lib/address.ts';
import type { Configuration, Member, Role } from '../../vr/configuration.ts';
import type { NewEpoch } from '../../vr/messages.ts';
import { connectionOptions, jsonOption, positiveInteger, serversOf, type ConnectionOptions } from '../connected.ts';
import { UsageError } from '../failure.ts';
import { table } from '../format.ts';
import { note, print, printJson, type Io } from '../io.ts';
import { statusOf } from './group.ts';

interface ChangeOptions extends ConnectionOptions {
  readonly force?: boolean;
}

/** A change of the members takes as long as a new one needs to fetch the state. */
const CHANGE_TIMEOUT_MS = 600_000;

export function membersCommands(program: Command, io: Io): void {
  const members = program.command('members').description('who belongs to the group, and changing it while it runs');
  const list = members.command('list', { isDefault: true }).description('ids, roles and addresses');
  jsonOption(connectionOptions(list)).addHelpText('after', '\nExample:\n  vrfs members list --json').action(async (options: ConnectionOptions) => {
    const c = await newestKnown(serversOf(options, io), options.timeout);
    const all = byId(c);
    if (options.json === true) await printJson(io, { epoch: c.epoch, durability: c.durability, members: all });
    else await print(io, table([['ID', 'ROLE', 'ADDRESS', 'HTTP'], ...all.map((m) => [String(m.id), m.role, m.address, `http://${m.httpAddress}`])]));
  });

  changing(members.command('add <address...>'), 'take in nodes that were started with "vrfs serve --join": each becomes an observer, catches up, and then gets its vote')
    .addOption(new Option('--role <role>', 'what they become').choices(['voter', 'witness', 'observer']).default('voter'))
    .addHelpText('after', '\nExample:\n  vrfs members add 10.0.0.4:7101')
    .action(async (addresses: string[], options: ChangeOptions & { role: Role }) => {
      const change = new Change(io, options);
      const nodes = await change.newNodes(addresses);
      await change.warmed(nodes, (c) => [...without(c, nodes), ...nodes.map((m) => ({ ...m, role: options.role }))]);
    });

  changing(members.command('remove <member...>'), 'by address or id; what leaves serves what it has until the others have it, and ends')
    .addHelpText('after', '\nExample:\n  vrfs members remove 10.0.0.3:7101')
    .action(async (names: string[], options: ChangeOptions) => {
      const change = new Change(io, options);
      await change.to((c) => without(c, names.map((name) => memberNamed(c, name))));
    });

  changing(members.command('replace <member> <address>'), 'a new node in the place of a member, which may be down for good')
    .addHelpText('after', '\nExample:\n  vrfs members replace 10.0.0.3:7101 10.0.0.4:7101')
    .action(async (name: string, address: string, options: ChangeOptions) => {
      const change = new Change(io, options);
      const { configuration: c } = await change.administrator.current();
      const nodes = await change.newNodes([address]);
      // Asked for again, after an interruption between the two steps and the end: it may be done already.
      if (!c.members.some((m) => named(m, name)) && c.members.some((m) => m.address === address && m.role !== 'observer')) return change.done(await change.administrator.complete());
      const old = memberNamed(c, name);
      await change.warmed(nodes, (now) => [...without(now, [old, ...nodes]), ...nodes.map((m) => ({ ...m, role: old.role }))]);
    });

  changing(members.command('set-role <member> <role>'), 'voter, witness or observer: gives a vote, or takes it')
    .addHelpText('after', '\nExample:\n  vrfs members set-role 10.0.0.4:7101 voter')
    .action(async (name: string, role: string, options: ChangeOptions) => {
      if (role !== 'voter' && role !== 'witness' && role !== 'observer') throw new UsageError(`'${role}' is no role: voter, witness or observer`);
      const change = new Change(io, options);
      await change.to((c) => [...without(c, [memberNamed(c, name)]), { ...memberNamed(c, name), role }]);
    });
}

/** Without a primary too: of those that answer, who knows the newest. Rejects with NoAnswer. */
async function newestKnown(servers: readonly string[], timeoutMs: number): Promise<Configuration> {
  const answers = await Promise.allSettled(servers.map((s) => introduce(s, timeoutMs)));
  const known = answers.flatMap((a) => (a.status === 'fulfilled' ? [a.value.configuration] : []));
  const newest = known.sort((a, b) => b.epoch - a.epoch)[0];
  if (newest !== undefined) return newest;
  const [first] = answers;
  throw first?.status === 'rejected' ? first.reason : new NoAnswer('no server was given');
}

function changing(command: Command, description: string): Command {
  command.description(description).option('--server <list>', 'replicas as host:port,host:port (default: as for every command)')
    .option('--timeout <ms>', 'how long the whole change may take, milliseconds', positiveInteger, CHANGE_TIMEOUT_MS)
    .option('--force', 'also when a member that gets a vote is not heard of or behind, or too few would be up');
  return jsonOption(command);
}

function byId(c: Configuration): Member[] {
  return [...c.members].sort((a, b) => a.id - b.id);
}

function named(m: Member, name: string): boolean {
  return m.address === name || String(m.id) === name;
}

function memberNamed(c: Configuration, name: string): Member {
  const found = c.members.find((m) => named(m, name));
  if (found === undefined) throw new UsageError(`the group has no member '${name}': ${byId(c).map((m) => `${m.id} (${m.address})`).join(', ')}`);
  return found;
}

function without(c: Configuration, gone: readonly Member[]): Member[] {
  return c.members.filter((m) => !gone.some((g) => g.id === m.id));
}

function sameMembers(a: readonly Member[], b: readonly Member[]): boolean {
  return a.length === b.length && a.every((m) => b.some((o) => o.id === m.id && o.role === m.role));
}

/** One change, with what is told of it on the way. */
class Change {
  readonly administrator: Administrator;
  readonly #io: Io;
  readonly #options: ChangeOptions;
  #told = '';

  constructor(io: Io, options: ChangeOptions) {
    this.#io = io;
    this.#options = options;
    this.administrator = new Administrator(serversOf(options, io), options.timeout);
  }

  async #tell(text: string, data: Readonly<Record<string, unknown>>): Promise<void> {
    if (text === this.#told) return;
    this.#told = text;
    if (this.#options.json === true) await printJson(this.#io, data);
    else await note(this.#io, text);
  }

  /** The nodes at these addresses: new ones that wait to be members, or members already. */
  async newNodes(addresses: readonly string[]): Promise<Member[]> {
    const { configuration: c } = await this.administrator.current();
    const own = await introduce(c.members[0]?.address ?? '', 3000).catch(() => null);
    const nodes: Member[] = [];
    for (const address of addresses) {
      const parsed = parseDestination(address);
      if (!parsed.ok) throw new UsageError(parsed.reason);
      const known = c.members.find((m) => m.address === address);
      if (known !== undefined) {
        nodes.push(known);
        continue;
      }
      const welcome = await introduce(address, 3000);
      if (own !== null && !welcome.clusterId.equals(own.clusterId)) throw new UsageError(`${address} belongs to another group, ${welcome.clusterId.toString('hex')}: start a node for this one with "vrfs serve --join" in an empty data directory`);
      if (welcome.configuration.members.some((m) => m.id === welcome.self)) throw new UsageError(`the replica at ${address} is member ${welcome.self} under another address: name it by that`);
      nodes.push({ id: welcome.self, role: 'observer', address, httpAddress: welcome.httpAddress });
      await this.#tell(`${address}: reached, node ${welcome.self}`, { phase: 'reached', address, id: welcome.self });
    }
    return nodes;
  }

  /** First as observers, until they have caught up; then as what they are to be. */
  async warmed(nodes: readonly Member[], wanted: (c: Configuration) => readonly Member[]): Promise<void> {
    await this.#apply((c) => {
      const missing = nodes.filter((m) => !c.members.some((known) => known.id === m.id));
      return [...c.members, ...missing.map((m): Member => ({ ...m, role: 'observer' }))];
    });
    for (const node of nodes) await this.#warm(node);
    await this.to(wanted);
  }

  async #warm(node: Member): Promise<void> {
    for (;;) {
      const { configuration: c } = await this.administrator.current();
      if (c.members.some((m) => m.id === node.id && m.role !== 'observer')) return;
      const answers = await Promise.all(c.members.map((m) => statusOf(m, 3000)));
      const primary = answers.find((a) => 'status' in a && a.status.isPrimary);
      const own = answers.find((a) => a.member.id === node.id);
      const op = primary !== undefined && 'status' in primary ? primary.status.op : 0;
      const at = own !== undefined && 'status' in own ? own.status.executed : 0;
      const percent = op === 0 ? 0 : Math.min(100, Math.floor((at / op) * 100));
      await this.#tell(`${node.address}: warmed ${percent} % (op ${at} of ${op})`, { phase: 'warming', address: node.address, percent, executed: at, op });
      if (op > 0 && at + 1000 >= op) return;
      await this.administrator.pause(200);
    }
  }

  async to(wanted: (c: Configuration) => readonly Member[]): Promise<void> {
    await this.done(await this.#apply(wanted));
  }

  async #apply(wanted: (c: Configuration) => readonly Member[]): Promise<NewEpoch> {
    const before = await this.administrator.complete();
    const members = wanted(before.configuration);
    if (sameMembers(members, before.configuration.members)) return before;
    // A member that has caught up may not have been heard to say so yet.
    for (let attempt = 0; ; attempt++) {
      try {
        const now = await this.administrator.reconfigure(before.configuration.epoch, members, this.#options.force === true);
        if (!sameMembers(members, now.configuration.members)) throw new UsageError(`somebody else has changed the members meanwhile (epoch ${now.configuration.epoch}): look (vrfs members), and ask again`);
        await this.#tell(`epoch ${now.configuration.epoch} begins: ${describe(now.configuration)}`, { phase: 'starting', epoch: now.configuration.epoch });
        return await this.administrator.complete();
      } catch (error) {
        if (!(error instanceof Error && error.name === 'ChangeRefused' && 'code' in error && error.code === 'unready' && attempt < 20)) throw error;
        await this.administrator.pause(250);
      }
    }
  }

  async done(now: NewEpoch): Promise<void> {
    const c = now.configuration;
    await this.#tell(`done: epoch ${c.epoch}: ${describe(c)}`, { phase: 'done', epoch: c.epoch, members: byId(c) });
  }
}

function describe(c: Configuration): string {
  return byId(c).map((m) => `${m.address}${m.role === 'voter' ? '' : ` (${m.role})`}`).join(', ');
}
