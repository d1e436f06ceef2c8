/** Who belongs to the group, and the arithmetic of quorums. Pure. PROTOCOL: notation. */
import { DecodeError, type Reader, type Writer } from '../lib/bytes.ts';
import { epoch, memberId, type Epoch, type MemberId, type View } from '../lib/ids.ts';
import { assert, defined } from '../lib/assert.ts';

export type Durability = 'disk' | 'memory';

export interface Member {
  readonly id: MemberId;
  /** `host:port` of the replica link; the primary's turn goes round by these, in ascending order. */
  readonly address: string;
  /** `host:port` of the HTTP API. */
  readonly httpAddress: string;
}

export interface Configuration {
  readonly epoch: Epoch;
  /** Ascending by address, distinct ids and addresses, at least one. */
  readonly members: readonly Member[];
  readonly durability: Durability;
}

/** Bytewise order of addresses, whatever the locale. */
function byAddress(a: Member, b: Member): number {
  return a.address < b.address ? -1 : a.address > b.address ? 1 : 0;
}

export function configuration(at: Epoch, members: readonly Member[], durability: Durability): Configuration {
  assert(members.length > 0, 'a group has at least one member');
  assert(new Set(members.map((m) => m.id)).size === members.length, 'member ids are distinct');
  assert(new Set(members.map((m) => m.address)).size === members.length, 'member addresses are distinct');
  return Object.freeze({ epoch: at, members: Object.freeze([...members].sort(byAddress)), durability });
}

/** Q = floor(K/2)+1: two quorums always share a member. Never "f+1", which is wrong for an even K. */
export function quorum(c: Configuration): number {
  return Math.floor(c.members.length / 2) + 1;
}

export function primaryOf(c: Configuration, v: View): Member {
  return defined(c.members[v % c.members.length], 'primary');
}

export function isMember(c: Configuration, id: MemberId): boolean {
  return c.members.some((m) => m.id === id);
}

export function encodeConfiguration(w: Writer, c: Configuration): void {
  w.u32(c.epoch).u8(c.durability === 'disk' ? 0 : 1).u8(c.members.length);
  for (const m of c.members) w.u32(m.id).string16(m.address).string16(m.httpAddress);
}

export function decodeConfiguration(r: Reader): Configuration {
  const at = epoch(r.u32());
  const durability = r.u8();
  if (durability > 1) throw new DecodeError(`unknown durability ${durability}`);
  const count = r.u8();
  if (count === 0) throw new DecodeError('a configuration without members');
  const members: Member[] = [];
  for (let i = 0; i < count; i++) {
    members.push({ id: memberId(r.u32()), address: r.string16(), httpAddress: r.string16() });
  }
  if (new Set(members.map((m) => m.id)).size !== count || new Set(members.map((m) => m.address)).size !== count) {
    throw new DecodeError('a configuration with a member twice');
  }
  return configuration(at, members, durability === 0 ? 'disk' : 'memory');
}
