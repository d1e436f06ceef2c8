/** Fake groups whose members change (fake_group.ts): what an administrator asks is answered by the rules of vr/membership.ts. */
import { epoch, memberId, view, type MemberId } from '../../lib/ids.ts';
import { configuration, voters, type Member } from '../../vr/configuration.ts';
import { refusal, type Readiness } from '../../vr/membership.ts';
import type { Message, Reconfigure } from '../../vr/messages.ts';
import { FakeGroup } from './fake_group.ts';

export class Administered {
  readonly group: FakeGroup;
  readonly asked: Reconfigure[] = [];
  readiness: (id: MemberId) => Readiness = () => 'ready';
  /** First of all: as `FakeGroup.intercept`. */
  before: (member: number, message: Message) => Message | null | undefined = () => undefined;

  private constructor(group: FakeGroup) {
    this.group = group;
    group.intercept = (member, m) => {
      const told = this.before(member, m);
      return told === undefined ? this.#answer(member, m) : told;
    };
  }
  static async start(size = 3): Promise<Administered> {
    return new Administered(await FakeGroup.start(size));
  }

  get members(): readonly Member[] {
    return this.group.configuration.members;
  }
  change(members: readonly Member[]): void {
    const { configuration: present, servers, primary } = this.group;
    this.group.configuration = configuration(epoch(present.epoch + 1), members, present.durability);
    // Who leads goes on, as in a real group; if it has left, another of these servers.
    const leads = voters(this.group.configuration).map((m) => m.address);
    const own = leads.indexOf(servers[primary] ?? '');
    this.group.view = own >= 0 ? own : leads.findIndex((a) => servers.includes(a));
  }

  #answer(member: number, m: Message): Message | undefined {
    if (m.type !== 'checkEpoch' && m.type !== 'reconfigure') return undefined;
    const { group } = this;
    const newEpoch = (): Message => ({ type: 'newEpoch', nonce: m.nonce, view: view(group.view), configuration: group.configuration, complete: true });
    if (member !== group.primary) return { type: 'redirect', view: view(group.view), configuration: group.configuration };
    if (m.type === 'checkEpoch') return newEpoch();
    this.asked.push(m);
    if (m.epoch !== group.configuration.epoch) return newEpoch();
    const refused = refusal(group.configuration, m.members, this.readiness, m.force);
    if (refused !== null) return { type: 'refused', nonce: m.nonce, ...refused };
    this.change(m.members);
    return newEpoch();
  }
}

/** A node that waits to be made a member: it says where the others find it. */
export async function joiningNode(of: FakeGroup, id: number, clusterId = of.clusterId): Promise<{ group: FakeGroup; address: string }> {
  const group = await FakeGroup.start(1);
  group.clusterId = clusterId;
  const address = group.servers[0] ?? '';
  group.intercept = (_, m) => {
    const known = { view: view(of.view), configuration: of.configuration };
    return m.type === 'hello' ? { type: 'welcome', ...known, self: memberId(id), address, httpAddress: '127.0.0.1:9', clusterId } : { type: 'redirect', ...known };
  };
  return { group, address };
}
