/** The group that the tests of vr/ speak of: members 1, 2, 3 .., whose turns as primary come in that order; the last may be witnesses. */
import { sha256, ZERO_DIGEST } from '../../lib/hash.ts';
import { epoch, memberId, opNumber, sessionId, view, type Digest } from '../../lib/ids.ts';
import { configuration, type Configuration, type Durability, type Member, type Role } from '../../vr/configuration.ts';
import { makeEntry, type Entry, type EntryFields } from '../../vr/entry.ts';
import type { CheckpointId, Superblock } from '../../vr/superblock.ts';

export const CLUSTER_ID = Buffer.from('vrfs-test-group!');
export const EMPTY_STATE: CheckpointId = { op: opNumber(0), root: sha256(Buffer.alloc(0)), entryHash: ZERO_DIGEST, view: view(0), time: 0 };

export function testMember(id: number, role: Role = 'voter'): Member {
  return { id: memberId(id), role, address: `10.0.0.${id}:7000`, httpAddress: `10.0.0.${id}:8000` };
}

export function testConfiguration(members: number, durability: Durability = 'disk', witnesses = 0): Configuration {
  const list = Array.from({ length: members }, (_, i) => testMember(i + 1, i < members - witnesses ? 'voter' : 'witness'));
  return configuration(epoch(0), list, durability);
}

export function freshSuperblock(of: Configuration, member: number): Superblock {
  return {
    clusterId: CLUSTER_ID, memberId: memberId(member), configuration: of, incarnation: 0,
    view: view(0), promisedView: view(0), logView: view(0), instance: Buffer.alloc(16), epochStart: null, heldByAll: opNumber(0), leaseMs: 0, checkpoint: EMPTY_STATE, retired: false,
  };
}

export function request(op: number, parent: Digest, body: string, change: Partial<EntryFields> = {}): Entry {
  const fields: EntryFields = {
    kind: 'request', epoch: epoch(0), view: view(0), op: opNumber(op), time: 1_000_000 + op,
    session: sessionId(1), slot: 0, seq: op, body: Buffer.from(body),
  };
  return makeEntry({ ...fields, ...change }, parent);
}

/** `count` requests behind `parent` at `after`; the label makes another chain of the same ops. */
export function chain(count: number, label = 'op', after = 0, parent: Digest = ZERO_DIGEST, inView = 0): Entry[] {
  const entries: Entry[] = [];
  let hash = parent;
  for (let i = 1; i <= count; i++) {
    const entry = request(after + i, hash, `${label}-${after + i}`, { view: view(inView) });
    entries.push(entry);
    hash = entry.hash;
  }
  return entries;
}
