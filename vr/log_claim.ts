/**
 * What a replica says of its log in DoViewChange and StartView, and how a receiver makes that log its own.
 *
 * The claim names every entry above a committed op by its chain hash, or the last of them where they are more than a message may
 * name: the hash before the first stands for all that came before it, which is asked for as what was collected is. Whoever receives it keeps what it already has
 * (equal hash means equal log up to there), takes the bodies that came along, and asks others for the rest by hash,
 * so that nothing is lost because a body did not fit into a message (PROTOCOL row 4).
 */
import { assert, defined } from '../lib/assert.ts';
import { opNumber, view, type Digest, type OpNumber } from '../lib/ids.ts';
import type { Entry, Header } from './entry.ts';
import type { Log } from './log.ts';
import type { LogClaim } from './messages.ts';

/** Bodies that travel with a claim, in bytes; the rest is asked for. */
export const CLAIM_BODY_BYTES = 256 << 10;

/** Entries that a claim names: 40 bytes each, half a frame together. */
export const CLAIM_HEADERS = 200_000;

/** @param most so many entries are named, and so many bytes of bodies go with it: the last ones */
export function makeClaim(log: Log, committed: OpNumber, most = { headers: CLAIM_HEADERS, bodyBytes: CLAIM_BODY_BYTES }): LogClaim {
  const base = opNumber(Math.max(committed, log.head - most.headers));
  const headers: Header[] = [];
  for (let op = base + 1; op <= log.head; op++) {
    const e = defined(log.at(op), () => `op ${op} of a claim`);
    headers.push({ op: e.op, view: e.view, hash: e.hash });
  }
  return { base, baseHash: defined(log.hashAt(base), 'base of a claim'), headers, entries: log.suffix(base, most.bodyBytes) };
}

export function claimHead(claim: LogClaim): OpNumber {
  return opNumber(claim.base + claim.headers.length);
}

/** The place of the claim's last entry. */
export function claimHeadHash(claim: LogClaim): Digest {
  return claim.headers.at(-1)?.hash ?? claim.baseHash;
}

/** The hash that the claim names at this op. */
function claimHashAt(claim: LogClaim, op: OpNumber): Digest | undefined {
  return op === claim.base ? claim.baseHash : claim.headers[op - claim.base - 1]?.hash;
}

/** The last op of which both name the same hash: up to there they are of one log. */
export function commonHead(a: LogClaim, b: LogClaim): Header | null {
  for (let op = Math.min(claimHead(a), claimHead(b)); op >= Math.max(a.base, b.base); op--) {
    const at = opNumber(op);
    const hash = claimHashAt(a, at);
    if (hash === undefined || hash !== claimHashAt(b, at)) continue;
    return { op: at, hash, view: (a.headers[op - a.base - 1] ?? b.headers[op - b.base - 1])?.view ?? view(0) };
  }
  return null;
}

/**
 * The claim with what the others say of the same log before its base: whoever knows more to be committed begins its claim later, and
 * may no longer have what is missing elsewhere.
 */
export function extendBack(claim: LogClaim, others: readonly LogClaim[]): LogClaim {
  let { base, baseHash, headers } = claim;
  for (;;) {
    const longer = others.find((o) => o.base < base && claimHashAt(o, base) === baseHash);
    if (longer === undefined) return { base, baseHash, headers, entries: claim.entries };
    headers = [...longer.headers.slice(0, base - longer.base), ...headers];
    ({ base, baseHash } = longer);
  }
}

export interface Assembly {
  /** Own log up to here stays. */
  readonly keep: OpNumber;
  /** These follow it. */
  readonly entries: readonly Entry[];
  /** The claim's log is whole: `keep` and `entries` reach its head. */
  readonly complete: boolean;
  /** Where `keep` and `entries` end: what to ask for next. */
  readonly at: OpNumber;
  readonly hash: Digest;
}

/**
 * @param committed  what the receiver knows to be committed: it is in every claim of a later view
 * @param bodies     further bodies (of other claims), looked up by chain hash
 */
export function assemble(log: Log, committed: OpNumber, claim: LogClaim, bodies: ReadonlyMap<Digest, Entry>): Assembly {
  const head = claimHead(claim);
  const headerAt = (op: number): Header => defined(claim.headers[op - claim.base - 1], () => `header ${op}`);
  let keep: OpNumber;
  if (log.hashAt(claim.base) === claim.baseHash) {
    keep = claim.base;
  } else if (committed >= claim.base) {
    assert(committed <= head, () => `op ${committed} is committed here and missing in a log of a later view (head ${head})`);
    assert(committed === claim.base || headerAt(committed).hash === log.hashAt(committed), () => `two committed entries at op ${committed}`);
    keep = committed;
  } else {
    // The claim starts beyond what is certain here: everything from the committed op on has to be asked for.
    return { keep: committed, entries: [], complete: false, at: committed, hash: defined(log.hashAt(committed), 'committed entry') };
  }
  while (keep < head && log.at(keep + 1)?.hash === headerAt(keep + 1).hash) keep = opNumber(keep + 1);
  const own = new Map(claim.entries.map((e) => [e.hash, e]));
  const entries: Entry[] = [];
  let at = keep;
  while (at < head) {
    const { hash } = headerAt(at + 1);
    const body = own.get(hash) ?? bodies.get(hash);
    if (body === undefined) break;
    entries.push(body);
    at = opNumber(at + 1);
  }
  return { keep, entries, complete: at === head, at, hash: at === claim.base ? claim.baseHash : headerAt(at).hash };
}
