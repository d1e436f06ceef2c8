/** How a node with an empty data directory comes to be one that a group can take in: it asks a member what group it is. */
import { randomBytes } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { Connection } from '../client/connection.ts';
import { GroupPin } from '../client/group_pin.ts';
import { memberId, type MemberId } from '../lib/ids.ts';
import { isMember } from '../vr/configuration.ts';
import type { Welcome } from '../vr/messages.ts';
import { DataDirectoryError, format, inspect, type NodeAddresses } from './data_directory.ts';
import type { Log } from './log.ts';

/** Ids below are those that groups are founded with. */
const FIRST_RANDOM_ID = 0x1_0000;

/** No server of the list could be asked. */
export class JoinError extends Error {
  override readonly name = 'JoinError';
}

/** What the replica at `address` says of its group. Rejects with JoinError. */
export function welcomeFrom(address: string): Promise<Welcome> {
  return new Promise((resolve, reject) => {
    const connection: Connection = new Connection(address, new GroupPin(), {
      message: (_from, m) => {
        if (m.type !== 'welcome') return;
        connection.close();
        resolve(m);
      },
      disconnected: () => {
        connection.close();
        reject(new JoinError(`${address}: ${connection.lastFailure ?? 'no answer'}`));
      },
    });
    connection.dial();
  });
}

export interface JoinRequest {
  readonly directory: string;
  /** `host:port` of some members. */
  readonly servers: readonly string[];
  readonly addresses: NodeAddresses;
}

/**
 * Makes the data directory, unless it is that of a node of this group already (a restart with the same command line). The node takes no part
 * before it is made a member. Rejects with JoinError or DataDirectoryError.
 */
export async function prepareToJoin(request: JoinRequest, log: Log): Promise<void> {
  const welcome = await firstWelcome(request.servers);
  const clusterId = welcome.clusterId.toString('hex');
  if (await isEmpty(request.directory)) {
    const { configuration } = welcome;
    const taken = configuration.members.find((m) => m.address === request.addresses.address || m.httpAddress === request.addresses.httpAddress);
    if (taken !== undefined) {
      throw new DataDirectoryError('otherMember', `member ${taken.id} of the group has the address ${taken.address} (HTTP ${taken.httpAddress}) already: give this node addresses of its own (--address, --http-address). To put a new node in the place of one that is lost, join with other ports, then: vrfs members replace ${taken.address} <host:port of the new one>`);
    }
    const id = newMemberId(welcome);
    await format({ directory: request.directory, clusterId: welcome.clusterId, memberId: id, configuration, joining: request.addresses });
    log.info({ member: id, clusterId }, `formatted ${request.directory} for a new member ${id} of group ${clusterId}; it takes no part until it is made one: vrfs members add ${request.addresses.address}`);
    return;
  }
  const found = await inspect(request.directory);
  if (!found.clusterId.equals(welcome.clusterId)) {
    throw new DataDirectoryError('otherGroup', `${request.directory} belongs to group ${found.clusterId.toString('hex')}, and ${request.servers.join(', ')} to group ${clusterId}: give an empty directory (--data), or the servers of its own group`);
  }
}

async function firstWelcome(servers: readonly string[]): Promise<Welcome> {
  const failures: string[] = [];
  for (const server of servers) {
    try {
      return await welcomeFrom(server);
    } catch (error) {
      if (!(error instanceof JoinError)) throw error;
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
