/** How a node with an empty data directory comes to be one that a group can take in: it asks a member what group it is. */
import { randomBytes } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { NoAnswer } from '../client/administrator_errors.ts';
import { introduce } from '../client/line.ts';
import { memberId, type MemberId } from '../lib/ids.ts';
import { isMember } from '../vr/configuration.ts';
import type { Welcome } from '../vr/messages.ts';
import { DataDirectoryError, format, inspect, type NodeAddresses } from './data_directory.ts';
import { JoinError } from './join_error.ts';
import type { Log } from './log.ts';

/** Ids below are those that groups are founded with. */
const FIRST_RANDOM_ID = 0x1_0000;
const WELCOME_MS = 5000;

export interface JoinRequest {
  readonly directory: string;
  /** `host:port` of some members. */
  readonly servers: readonly string[];
  readonly addresses: NodeAddresses;
}

/**
 * Makes the data directory, unless there is one already (a restart with the same command line): that needs nobody, since after a power loss of
 * all there is nobody to be asked. The node takes no part before it is made a member. Rejects with JoinError or DataDirectoryError.
 */
export async function prepareToJoin(request: JoinRequest, log: Log): Promise<void> {
  if (!await isEmpty(request.directory)) {
    const { clusterId, superblock, addresses } = await inspect(request.directory);
    if (!superblock.retired) refuseOtherAddresses(request, addresses);
    void noteOtherGroup(request, clusterId, log);
    return;
  }
  const welcome = await firstWelcome(request.servers);
  const clusterId = welcome.clusterId.toString('hex');
  const { configuration } = welcome;
  const taken = configuration.members.find((m) => m.address === request.addresses.address || m.httpAddress === request.addresses.httpAddress);
  if (taken !== undefined) {
    throw new DataDirectoryError('otherMember', `member ${taken.id} of the group has the address ${taken.address} (HTTP ${taken.httpAddress}) already: give this node addresses of its own (--address, --http-address). To put a new node in the place of one that is lost, join with other ports, then: vrfs members replace ${taken.address} <host:port of the new one>`);
  }
  const id = newMemberId(welcome);
  await format({ directory: request.directory, clusterId: welcome.clusterId, memberId: id, configuration, joining: request.addresses });
  log.info({ member: id, clusterId }, `formatted ${request.directory} for a new member ${id} of group ${clusterId}; it takes no part until it is made one: vrfs members add ${request.addresses.address}`);
}

/** The others look for a node where it said that it would be when its directory was made, or where it was made a member; elsewhere nobody would find it. */
function refuseOtherAddresses({ directory, addresses }: JoinRequest, own: NodeAddresses): void {
  if (addresses.address === own.address && addresses.httpAddress === own.httpAddress) return;
  throw new DataDirectoryError('otherMember',
    `${directory} is the data directory of a node at ${own.address} (HTTP ${own.httpAddress}), where the others look for it, and not at ${addresses.address} (HTTP ${addresses.httpAddress}). Start it with the addresses that it has ` +
    `(--address ${own.address} --http-address ${own.httpAddress}; --listen and --http-listen say what it listens on). To move it: join with an empty directory at the new address, then vrfs members replace ${own.address} ${addresses.address}`);
}

/** The node goes on in the group of its directory, whatever --join names; that they are two is a mistake somewhere. */
async function noteOtherGroup({ directory, servers }: JoinRequest, own: Buffer, log: Log): Promise<void> {
  for (const answer of await Promise.allSettled(servers.map((s) => introduce(s, WELCOME_MS)))) {
    if (answer.status === 'rejected') log.debug({ err: answer.reason as unknown }, 'a server of --join was not asked which group it is of');
    if (answer.status === 'rejected' || answer.value.clusterId.equals(own)) continue;
    log.error({ clusterId: own.toString('hex') }, `${directory} belongs to group ${own.toString('hex')}, in which this node goes on; ${servers.join(', ')} are of group ${answer.value.clusterId.toString('hex')}: to join that one give an empty directory (--data)`);
    return;
  }
}

async function firstWelcome(servers: readonly string[]): Promise<Welcome> {
  const failures: string[] = [];
  for (const server of servers) {
    try {
      return await introduce(server, WELCOME_MS);
    } catch (error) {
      if (!(error instanceof NoAnswer)) throw error;
      failures.push(error.message);
    }
  }
  throw new JoinError(`no member of the group could be asked (${failures.join('; ')}): give the address of one that runs (--join host:port)`);
}

function newMemberId({ configuration }: Welcome): MemberId {
  for (;;) {
    const id = memberId(randomBytes(4).readUInt32BE());
    if (id >= FIRST_RANDOM_ID && !isMember(configuration, id)) return id;
  }
}

async function isEmpty(directory: string): Promise<boolean> {
  try {
    return (await readdir(directory)).length === 0;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return true;
    throw error;
  }
}
