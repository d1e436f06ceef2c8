/** Stories whose members change: who asks for it, and a group to begin with. */
import { assert, defined } from '../../lib/assert.ts';
import type { Epoch } from '../../lib/ids.ts';
import type { Member } from '../../vr/configuration.ts';
import type { Message, NewEpoch } from '../../vr/messages.ts';
import { Cluster, type ClusterOptions } from './cluster.ts';
import { testMember } from './group.ts';
import type { Node } from './node.ts';
import { TestClient } from './test_client.ts';

/** A number is a voter. */
export const members = (...ids: (number | Member)[]): Member[] => ids.map((m) => (typeof m === 'number' ? testMember(m) : m));

export function started(options: ClusterOptions = {}): { cluster: Cluster; client: TestClient; admin: Administrator } {
  const cluster = new Cluster({ ...options, replica: { checkpointOps: 5, ...options.replica } });
  const client = new TestClient(cluster).register();
  return { cluster, client, admin: new Administrator(cluster) };
}

/** Asks the present leader, again and again, until it is answered. */
export class Administrator {
  readonly #cluster: Cluster;
  #connection = 1000;

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  send(to: Node, at: Epoch, wanted: readonly Member[], force = false): () => Message | undefined {
    const connection = ++this.#connection;
    to.replica.receive(connection, { type: 'reconfigure', nonce: this.#cluster.random.bytes(16), epoch: at, members: wanted, force });
    return () => this.#cluster.replies.find((r) => r.connection === connection)?.message;
  }

  ask(wanted: readonly Member[], force = false): Message {
    const leader = this.#cluster.untilServing();
    const answer = this.send(leader, leader.replica.configuration.epoch, wanted, force);
    this.#cluster.until(() => answer() !== undefined, 'an answer');
    return defined(answer(), 'answer');
  }

  /** Until a quorum of the new members has started the epoch. */
  change(wanted: readonly Member[], force = false): NewEpoch {
    const answer = this.ask(wanted, force);
    assert(answer.type === 'newEpoch', `answered with ${JSON.stringify(answer)}`);
    const { epoch } = answer.configuration;
    this.#cluster.until(() => {
      const { leader } = this.#cluster;
      return leader !== undefined && leader.replica.configuration.epoch === epoch && leader.replica.reconfiguration.complete;
    }, `epoch ${epoch} complete`);
    return answer;
  }
}

export function writeAll(client: TestClient, label: string, count: number): void {
  for (let i = 0; i < count; i++) client.write(`${label}-${i}`);
}
