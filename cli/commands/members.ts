/** Who belongs to the group, and changing it while it runs: vrfs members, add, remove, replace, set-role. */
import { Option, type Command } from 'commander';
import { parseDestination } from '../../lib/address.ts';
import { defined } from '../../lib/assert.ts';
import { memberId } from '../../lib/ids.ts';
import { memberOf, type Configuration, type Member, type Role } from '../../vr/configuration.ts';
import { connectionOptions, jsonOption, positiveInteger, timeoutMilliseconds, type ConnectionOptions } from '../connected.ts';
import { listByDefault } from '../default_list.ts';
import { UsageError } from '../failure.ts';
import { table } from '../format.ts';
import { byId, newestConfiguration } from '../group_members.ts';
import { print, printJson, type Io } from '../io.ts';
import type { ChangeOptions, Identity, MemberChange } from '../member_change.ts';
import { markReading } from '../reading.ts';

interface NewNodeOptions extends ChangeOptions {
  readonly id?: number;
  readonly httpAddress?: string;
}

/** A change of the members takes as long as a new one needs to fetch the state. */
const CHANGE_TIMEOUT_MS = 600_000;

export function membersCommands(program: Command, io: Io): void {
  const members = program.command('members').description('who belongs to the group, and changing it while it runs');
  const list = listByDefault(members, 'ids, roles and addresses');
  jsonOption(connectionOptions(markReading(list))).addHelpText('after', '\nExample:\n  vrfs members list --json').action(async (options: ConnectionOptions) => {
    const c = await newestConfiguration(options, io);
    const all = byId(c);
    if (options.json === true) await printJson(io, { epoch: c.epoch, durability: c.durability, members: all });
    else await print(io, table([['ID', 'ROLE', 'ADDRESS', 'HTTP'], ...all.map((m) => [String(m.id), m.role, m.address, `http://${m.httpAddress}`])]));
  });

  takingIn(members.command('add <address...>'), 'take in nodes that were started with "vrfs serve --join": each becomes an observer, catches up, and then gets its vote')
    .addOption(new Option('--role <role>', 'what they become').choices(['voter', 'witness', 'observer']).default('voter'))
    .addHelpText('after', '\nExample:\n  vrfs members add 10.0.0.4:7101')
    .action(async (addresses: string[], options: NewNodeOptions & { role: Role }) => {
      const change = await memberChange(io, options);
      const nodes = await change.newNodes(addresses, identityOf(options, addresses));
      for (const m of nodes) {
        if (m.role !== 'observer' && m.role !== options.role) throw new UsageError(`${m.address} is a member already, ${m.id}, a ${m.role}: to make it something else: vrfs members set-role ${m.id} ${options.role}`);
      }
      await change.warmed(nodes, (c) => [...without(c, nodes), ...nodes.map((m) => ({ ...m, role: options.role }))]);
    });

  changing(members.command('remove <member...>'), 'by address or id; what leaves serves what it has until the others have it, and ends')
    .addHelpText('after', '\nExample:\n  vrfs members remove 10.0.0.3:7101')
    .action(async (names: string[], options: ChangeOptions) => {
      const change = await memberChange(io, options);
      await change.to((c) => without(c, names.map((name) => memberNamed(c, name))));
    });

  takingIn(members.command('replace <member> <address>'), 'a new node in the place of a member, which may be down for good')
    .addHelpText('after', '\nExample:\n  vrfs members replace 10.0.0.3:7101 10.0.0.4:7101')
    .action(async (name: string, address: string, options: NewNodeOptions) => {
      const change = await memberChange(io, options);
      const node = defined((await change.newNodes([address], identityOf(options, [address])))[0], 'the new node');
      const { configuration: c } = await change.administrator.current();
      const present = memberOf(c, node.id);
      // Asked for again, after an interruption between the two steps and the end: it may be done already.
      if (!c.members.some((m) => named(m, name)) && present !== undefined && present.role !== 'observer') return change.done(await change.administrator.complete());
      const old = memberNamed(c, name);
      if (node.id === old.id) throw new UsageError(`${name} and ${address} are the same, member ${old.id}: give the address of a new node, started with "vrfs serve --join"`);
      if (present !== undefined && present.role !== 'observer') throw new UsageError(`${address} has a vote already, as member ${node.id}, a ${present.role}: give a new node, or only take the other one out: vrfs members remove ${old.id}`);
      await change.warmed([node], (now) => [...without(now, [old, node]), { ...node, role: old.role }]);
    });

  changing(members.command('set-role <member> <role>'), 'voter, witness or observer: gives a vote, or takes it; a witness stays one')
    .addHelpText('after', '\nExample:\n  vrfs members set-role 10.0.0.4:7101 voter')
    .action(async (name: string, role: string, options: ChangeOptions) => {
      if (role !== 'voter' && role !== 'witness' && role !== 'observer') throw new UsageError(`'${role}' is no role: voter, witness or observer`);
      const change = await memberChange(io, options);
      await change.to((c) => [...without(c, [memberNamed(c, name)]), { ...memberNamed(c, name), role }]);
    });
}

/** Loaded by the changes alone: it asks replicas about themselves by HTTP, and a list needs none of that. */
async function memberChange(io: Io, options: ChangeOptions): Promise<MemberChange> {
  const { MemberChange } = await import('../member_change.ts');
  return new MemberChange(io, options);
}

function changing(command: Command, description: string): Command {
  command.description(description).option('--server <list>', 'replicas as host:port,host:port (default: as for every command)')
    .option('--timeout <ms>', 'how long the whole change may take, milliseconds', timeoutMilliseconds, CHANGE_TIMEOUT_MS)
    .option('--force', 'wait for nobody to catch up, and give the vote also to a node that is not heard of or behind; never when too few would be up to go on');
  return command.option('--json', 'progress and result as JSON, one object a line; errors too');
}

function takingIn(command: Command, description: string): Command {
  return changing(command, description)
    .option('--id <id>', 'with --force, of a node that cannot be reached from here: its member id, as its log names it', positiveInteger)
    .option('--http-address <address>', 'with --force and --id: host:port of its HTTP API');
}

/** Of a node that may not answer. Null: it has to. */
function identityOf(options: NewNodeOptions, addresses: readonly string[]): Identity | null {
  const { id, httpAddress, force } = options;
  if (id === undefined && httpAddress === undefined) return null;
  if (id === undefined || httpAddress === undefined || force !== true) throw new UsageError('--id and --http-address go together, and with --force: they say who a node is that cannot be asked');
  if (addresses.length !== 1) throw new UsageError('--id is the member id of one node: give one address');
  if (id > 0xffff_ffff) throw new UsageError(`--id ${id} is no member id: 1 to ${0xffff_ffff}`);
  const parsed = parseDestination(httpAddress);
  if (!parsed.ok) throw new UsageError(parsed.reason);
  return { id: memberId(id), httpAddress };
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
