/**
 * Whether the group may get these members. A change must leave a group that survives a failure, must not take away at
 * once more than the present one survives losing, and must not give a vote to somebody who could not use it: a new
 * voter that is down or far behind costs the group the failure that it was to survive. Pure.
 */
import { parseDestination } from '../lib/address.ts';
import type { MemberId } from '../lib/ids.ts';
import { electors, encodedMembersBytes, isElector, isMember, memberOf, tolerated, type Configuration, type Member } from './configuration.ts';
import { MAX_BODY_BYTES } from './entry.ts';
import type { RefusedCode } from './messages.ts';

/** How a member looks from the primary. */
export type Readiness =
  | 'ready'
  /** Nothing was heard of it for some time. */
  | 'silent'
  /** It is there and has not caught up. */
  | 'behind'
  /** It is to be a witness, and its log begins behind what the voters are known to have on disk (row 21). */
  | 'ahead';

export interface Refusal {
  readonly code: RefusedCode;
  readonly reason: string;
}

const LEAST_ELECTORS = 3;
export const MAX_ELECTORS = 9;
export const MAX_MEMBERS = 32;
/** Of a Reconfiguration's body, what is not its members: epochs, counts, op-number. */
const BODY_REST_BYTES = 64;

/**
 * Null: it may. `force` gives a vote also to who is not heard of or behind, and overrides nothing else: a group that would stand still at once
 * helps nobody.
 */
export function refusal(present: Configuration, members: readonly Member[], readiness: (id: MemberId) => Readiness, force: boolean): Refusal | null {
  const wrong = malformed(members) ?? misaddressed(present, members) ?? tooLong(present, members) ?? impossible(present, members);
  if (wrong !== null) return { code: 'invalid', reason: wrong };
  const unready = unheld(present, members, readiness) ?? (force ? null : unreadiness(present, members, readiness)) ?? tooFewUp(members, readiness);
  return unready === null ? null : { code: 'unready', reason: unready };
}

function malformed(members: readonly Member[]): string | null {
  if (members.length > MAX_MEMBERS) return `a group has at most ${MAX_MEMBERS} members, not ${members.length}`;
  if (members.some((m) => m.id === 0)) return 'a member id is not 0';
  if (new Set(members.map((m) => m.id)).size < members.length) return 'a member is named twice';
  if (new Set(members.map((m) => m.address)).size < members.length) return 'two members have the same address';
  if (!members.some((m) => m.role === 'voter')) return 'no member would be left that may lead';
  const voting = members.filter((m) => m.role !== 'observer').length;
  if (voting > MAX_ELECTORS) return `at most ${MAX_ELECTORS} members have a vote, not ${voting}`;
  return null;
}

/**
 * What is no address could never be connected to, by anybody who is told of it from then on; two members at one address are one. Of new
 * members only: a present one keeps its addresses, and may be asked to leave.
 */
function misaddressed(present: Configuration, members: readonly Member[]): string | null {
  for (const m of members) {
    if (isMember(present, m.id)) continue;
    for (const [what, text] of [['address', m.address], ['HTTP address', m.httpAddress]] as const) {
      const parsed = parseDestination(text);
      if (!parsed.ok) return `the ${what} of member ${m.id}: ${parsed.reason}`;
      const other = members.find((o) => o !== m && (o.address === text || o.httpAddress === text));
      if (other !== undefined) return `members ${other.id} and ${m.id} would have the same address, ${text}`;
    }
    if (m.address === m.httpAddress) return `member ${m.id} would have ${m.address} as its address and as its HTTP address`;
  }
  return null;
}

function tooLong(present: Configuration, members: readonly Member[]): string | null {
  const bytes = encodedMembersBytes(present.members) + encodedMembersBytes(members) + BODY_REST_BYTES;
  return bytes > MAX_BODY_BYTES ? `the old and the new members together take ${bytes} bytes, and an entry of the log has ${MAX_BODY_BYTES} at most: fewer members, or shorter addresses` : null;
}

function impossible(present: Configuration, members: readonly Member[]): string | null {
  const voting = members.filter((m) => m.role !== 'observer');
  const least = Math.min(LEAST_ELECTORS, electors(present).length);
  if (voting.length < least) return `the group would have ${voting.length} members with a vote; below ${least} it would not survive the loss of one: add a member first, or replace instead of removing`;
  const witnesses = voting.filter((m) => m.role === 'witness').length;
  const survives = voting.length - (Math.floor(voting.length / 2) + 1);
  if (witnesses > survives) return `of ${voting.length} members with a vote at most ${survives} may be witnesses, not ${witnesses}`;
  const leaving = electors(present).filter((m) => !voting.some((v) => v.id === m.id)).length;
  if (leaving > tolerated(present)) return `${leaving} members with a vote would go at once; this group survives the loss of ${tolerated(present)}: change it in steps`;
  for (const m of members) {
    const known = memberOf(present, m.id);
    if (known !== undefined && (known.address !== m.address || known.httpAddress !== m.httpAddress)) return `member ${m.id} has the address ${known.address}; a member keeps its addresses: replace it by a new one`;
    if (known?.role === 'witness' && m.role !== 'witness') return `member ${m.id} is a witness and keeps no state: add a new node (vrfs members add), then remove this one`;
  }
  const same = members.length === present.members.length && members.every((m) => memberOf(present, m.id)?.role === m.role);
  return same ? 'these are the members already' : null;
}

/** A witness on which nobody may count is no help in any state of health: also not if it is forced. */
function unheld(present: Configuration, members: readonly Member[], readiness: (id: MemberId) => Readiness): string | null {
  const ahead = members.find((m) => m.role === 'witness' && memberOf(present, m.id)?.role !== 'witness' && readiness(m.id) === 'ahead');
  return ahead === undefined ? null : `the log of ${ahead.address}, which would be a witness, begins behind what every voter has on disk: wait for their next checkpoint, or replace the voter that is down first`;
}

function unreadiness(present: Configuration, members: readonly Member[], readiness: (id: MemberId) => Readiness): string | null {
  const voting = members.filter((m) => m.role !== 'observer');
  for (const m of voting) {
    if (isElector(present, m.id)) continue;
    const state = readiness(m.id);
    if (state === 'silent') return `nothing is heard of ${m.address}, which would get a vote: make it an observer first, and see that it runs and can be reached`;
    if (state === 'behind') return `${m.address}, which would get a vote, is still behind: wait until it has caught up`;
  }
  return null;
}

function tooFewUp(members: readonly Member[], readiness: (id: MemberId) => Readiness): string | null {
  const voting = members.filter((m) => m.role !== 'observer');
  const up = voting.filter((m) => readiness(m.id) === 'ready').length;
  const needed = Math.floor(voting.length / 2) + 1;
  return up < needed ? `only ${up} of the ${voting.length} members with a vote would be up and caught up; ${needed} are needed to go on` : null;
}

/**
 * The change for a member with a vote that has gone: an observer that has kept up takes its place, and it becomes an observer, to
 * which it may return (a witness has nothing to observe with: it leaves). Null: there is none.
 */
export function promotion(present: Configuration, gone: Member, readiness: (id: MemberId) => Readiness): readonly Member[] | null {
  const heir = present.members.find((m) => m.role === 'observer' && readiness(m.id) === 'ready');
  if (heir === undefined) return null;
  const others = present.members.filter((m) => m.id !== gone.id && m.id !== heir.id);
  const promoted: Member = { ...heir, role: gone.role };
  return gone.role === 'witness' ? [...others, promoted] : [...others, promoted, { ...gone, role: 'observer' }];
}
