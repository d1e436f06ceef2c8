/** Who belongs to the group, and the arithmetic of quorums. Pure. PROTOCOL: notation. */
import { DecodeError, type Reader, type Writer } from '../lib/bytes.ts';
import { epoch, memberId, viewNumber, viewOf, type Epoch, type MemberId, type View } from '../lib/ids.ts';
import { assert, defined } from '../lib/assert.ts';

export type Durability = 'disk' | 'memory';

export type Role =
  /** Logs, votes, executes, may lead. */
  | 'voter'
  /** Logs and votes, but keeps no state and never leads (row 21). */
  | 'witness'
  /** Follows and executes, serves reads that need not be linearizable; has no vote. */
  | 'observer';
const ROLES: readonly Role[] = ['voter', 'witness', 'observer'];

export interface Member {
  readonly id: MemberId;
  readonly role: Role;
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
  assert(members.some((m) => m.role === 'voter'), 'a group has a member that may lead');
  return Object.freeze({ epoch: at, members: Object.freeze([...members].sort(byAddress)), durability });
}

interface Roles {
  readonly voters: readonly Member[];
  readonly electors: readonly Member[];
}
// Asked for with every message, of few configurations.
const roles = new WeakMap<Configuration, Roles>();

function rolesOf(c: Configuration): Roles {
  let known = roles.get(c);
  if (known === undefined) {
    known = { voters: c.members.filter((m) => m.role === 'voter'), electors: c.members.filter((m) => m.role !== 'observer') };
    roles.set(c, known);
  }
  return known;
}

/** Those that may lead, and hold the state. */
export function voters(c: Configuration): readonly Member[] {
  return rolesOf(c).voters;
}

/** Those whose acknowledgements and votes count: voters and witnesses. K is their number. */
export function electors(c: Configuration): readonly Member[] {
  return rolesOf(c).electors;
}

/** Q = floor(K/2)+1: two quorums always share a member. Never "f+1", which is wrong for an even K. */
export function quorum(c: Configuration): number {
  return Math.floor(electors(c).length / 2) + 1;
}

/** f = K − Q. */
export function tolerated(c: Configuration): number {
  return electors(c).length - quorum(c);
}

export function primaryOf(c: Configuration, v: View): Member {
  const among = voters(c);
  return defined(among[viewNumber(v) % among.length], 'primary');
}

export function memberOf(c: Configuration, id: MemberId): Member | undefined {
  return c.members.find((m) => m.id === id);
}

export function isMember(c: Configuration, id: MemberId): boolean {
  return memberOf(c, id) !== undefined;
}

/** Also in what they keep. */
export function sameElectors(a: Configuration, b: Configuration): boolean {
  const [before, after] = [electors(a), electors(b)];
  return before.length === after.length && before.every((m) => after.some((n) => n.id === m.id && n.role === m.role));
}
export function isElector(c: Configuration, id: MemberId): boolean {
  return electors(c).some((m) => m.id === id);
}

/**
 * The view in which an epoch begins: that of the primary under which the Reconfiguration was proposed, if it stays one that
 * may lead, so that a change does not hand the group to a node that has just come. The same at every replica: it is a
 * function of the entry.
 */
export function firstView(previous: Configuration, next: Configuration, proposedIn: View): View {
  const leader = primaryOf(previous, proposedIn).id;
  return viewOf(next.epoch, Math.max(0, voters(next).findIndex((m) => m.id === leader)));
}

export function encodeMember(w: Writer, m: Member): void {
  w.u32(m.id).u8(ROLES.indexOf(m.role)).string16(m.address).string16(m.httpAddress);
}

/** Of these members, as `encodeMember` writes them. */
export function encodedMembersBytes(members: readonly Member[]): number {
  let bytes = 0;
  for (const m of members) bytes += 4 + 1 + 2 + Buffer.byteLength(m.address) + 2 + Buffer.byteLength(m.httpAddress);
  return bytes;
}

export function decodeMember(r: Reader): Member {
  const id = memberId(r.u32());
  const code = r.u8();
  const role = ROLES[code];
  if (role === undefined) throw new DecodeError(`unknown role ${code}`);
  return { id, role, address: r.string16(), httpAddress: r.string16() };
}

export function encodeConfiguration(w: Writer, c: Configuration): void {
  w.u32(c.epoch).u8(c.durability === 'disk' ? 0 : 1).u8(c.members.length);
  for (const m of c.members) encodeMember(w, m);
}

export function decodeConfiguration(r: Reader): Configuration {
  const number = r.u32();
  if (number >= 2 ** 21) throw new DecodeError(`epoch ${number} is out of range`);
  const at = epoch(number);
  const durability = r.u8();
  if (durability > 1) throw new DecodeError(`unknown durability ${durability}`);
  const count = r.u8();
  if (count === 0) throw new DecodeError('a configuration without members');
  const members: Member[] = [];
  for (let i = 0; i < count; i++) {
    members.push(decodeMember(r));
  }
  if (new Set(members.map((m) => m.id)).size !== count || new Set(members.map((m) => m.address)).size !== count) {
    throw new DecodeError('a configuration with a member twice');
  }
  if (!members.some((m) => m.role === 'voter')) throw new DecodeError('a configuration in which no member may lead');
  return configuration(at, members, durability === 0 ? 'disk' : 'memory');
}
