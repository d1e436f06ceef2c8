/**
 * Attributes that need not be taken on trust from the replica that answers: proved against the Merkle root of a checkpoint that
 * a quorum of the members has. They are as of that checkpoint, which may be older than the newest change.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { request } from 'undici';
import { digest, opNumber, type Digest, type OpNumber } from '../lib/ids.ts';
import { namesOfPath } from '../fsservice/proven_path.ts';
import type { Credentials } from '../fsservice/operations.ts';
import { quorum, type Configuration, type Member } from '../vr/configuration.ts';
import { checkTimeout } from './client.ts';
import { InvalidCall, NotVerified } from './errors.ts';
import { verifyPathProof, type PathProof, type TrustedRoot } from './path_proof.ts';
import { pathBytes, printable, type PathLike } from './paths.ts';
import { Stats } from './stats.ts';

export interface VerifiedStat {
  /** Null: it is proved that the path led to nothing. */
  readonly stats: Stats | null;
  /** The first name of the path that was not there; null: all were. */
  readonly missing: Buffer | null;
  /** The checkpoint that this is true of; its time in microseconds since 1970, as the group's primary had it. */
  readonly checkpoint: { readonly op: OpNumber; readonly root: Digest; readonly records: number; readonly timeMicros: number | null };
  /** Members that have this root at this op, and how many were needed. */
  readonly agreed: readonly number[];
  readonly quorum: number;
  /** Who made the proof, and the length of its answer in bytes. */
  readonly prover: number;
  readonly proofBytes: number;
}

export interface VerifyOptions {
  /** On whose behalf; who may not search a directory on the way now gets no proof. */
  readonly credentials: Credentials;
  /** For everything together. Default 10,000. */
  readonly timeoutMs?: number;
}

interface Known {
  readonly member: Member;
  readonly held: ReadonlySet<string>;
  readonly known: ReadonlyMap<string, TrustedRoot>;
}

/** The longest answer that is read: a proof of 4096 bytes of path with pages of long names stays below. */
const ANSWER_MAX = 64 << 20;
const REQUEST_MS = 5_000;
const PAUSE_MS = 200;

/** Follows no symbolic links. Rejects with NotVerified when no quorum agrees in time or a proof is refused, and with InvalidCall for a path with '..'. */
export async function verifiedStat(configuration: Configuration, path: PathLike, options: VerifyOptions): Promise<VerifiedStat> {
  const names = namesOfPath(pathBytes(path));
  // Of a time that never comes there would be no end.
  checkTimeout('timeoutMs', options.timeoutMs);
  if (names === null) throw new InvalidCall(`a proof is of a path without '..': ${printable(pathBytes(path))}`);
  return new Verification(configuration, names, options).run();
}

class Verification {
  readonly #members: readonly Member[];
  readonly #quorum: number;
  readonly #names: readonly Buffer[];
  readonly #options: VerifyOptions;
  readonly #deadline: number;
  /** What the last round was missing. */
  #trouble = 'nobody was asked';

  constructor(c: Configuration, names: readonly Buffer[], options: VerifyOptions) {
    // A witness has no state, and an observer no vote.
    this.#members = c.members.filter((m) => m.role === 'voter');
    this.#quorum = quorum(c);
    this.#names = names;
    this.#options = options;
    this.#deadline = performance.now() + (options.timeoutMs ?? 10_000);
  }

  async run(): Promise<VerifiedStat> {
    for (;;) {
      const verified = await this.#round();
      if (verified !== null) return verified;
      if (performance.now() + PAUSE_MS >= this.#deadline) throw new NotVerified('noAgreement', `not verified: ${this.#trouble}`);
      await pause(PAUSE_MS);
    }
  }

  /** Null: not now. Members take their checkpoints at different moments, and do not keep them for long. */
  async #round(): Promise<VerifiedStat | null> {
    const answers = await Promise.all(this.#members.map((m) => this.#known(m)));
    const found = answers.filter((a): a is Known => !('error' in a));
    const agreed = newestAgreed(found, this.#quorum);
    if (agreed === null) {
      const silent = answers.flatMap((a) => ('error' in a ? [a.error] : []));
      this.#trouble = found.length < this.#quorum
        ? `${this.#quorum} of ${this.#members.length} members that keep the state have to agree, and ${found.length} answered (${silent.join('; ')})`
        : `no ${this.#quorum} members have a checkpoint of the same op with the same root at the moment`;
      return null;
    }
    const reasons: string[] = [];
    for (const { member, held } of found) {
      if (!held.has(nameOf(agreed.root))) continue;
      const verified = await this.#prove(member, agreed.root, agreed.members);
      if (!('error' in verified)) return verified;
      reasons.push(verified.error);
    }
    this.#trouble = `no member gives a proof from the checkpoint of op ${agreed.root.op}, on which ${agreed.members.join(' and ')} agree (${reasons.join('; ')})`;
    return null;
  }

  async #known(member: Member): Promise<Known | { readonly error: string }> {
    const answer = await this.#get(member, '/v1/checkpoints');
    if (!answer.ok) return { error: answer.reason };
    return readKnown(member, answer.json) ?? { error: `${member.httpAddress} does not answer as member ${member.id} does` };
  }

  async #prove(member: Member, trusted: TrustedRoot, agreed: readonly number[]): Promise<VerifiedStat | { readonly error: string }> {
    const answer = await this.#get(member, `/v1/proof/${this.#names.map(escaped).join('/')}?op=${trusted.op}`);
    // It may have let go of the checkpoint meanwhile, or have a fault or no time, and another member not.
    if (!answer.ok && (answer.status === null || answer.status === 404 || answer.status >= 500)) return { error: answer.reason };
    if (!answer.ok) throw new NotVerified('refused', `not verified: ${answer.reason}`);
    const proof = verifyPathProof(answer.json, this.#names, trusted);
    if (!proof.ok) throw new NotVerified('refused', `NOT VERIFIED: the proof of member ${member.id} (${member.httpAddress}) is refused: ${proof.reason}`);
    return { ...resultOf(proof, this.#names, trusted), agreed, quorum: this.#quorum, prover: member.id, proofBytes: answer.bytes };
  }

  async #get(member: Member, path: string): Promise<{ readonly ok: true; readonly json: unknown; readonly bytes: number } | { readonly ok: false; readonly status: number | null; readonly reason: string }> {
    const url = `http://${member.httpAddress}${path}`;
    const { uid, gid, groups } = this.#options.credentials;
    const ms = Math.ceil(Math.max(1, Math.min(REQUEST_MS, this.#deadline - performance.now())));
    try {
      const answer = await request(url, { signal: AbortSignal.timeout(ms), headers: { 'x-vrfs-uid': String(uid), 'x-vrfs-gid': String(gid), 'x-vrfs-groups': groups.join(',') } });
      const chunks: Buffer[] = [];
      let bytes = 0;
      for await (const chunk of answer.body as AsyncIterable<Buffer>) {
        bytes += chunk.length;
        if (bytes > ANSWER_MAX) throw new Error(`an answer of more than ${ANSWER_MAX} bytes`);
        chunks.push(chunk);
      }
      const json: unknown = JSON.parse(Buffer.concat(chunks).toString('utf8'));
      if (answer.statusCode === 200) return { ok: true, json, bytes };
      const detail = typeof json === 'object' && json !== null && 'detail' in json ? String(json.detail) : '';
      return { ok: false, status: answer.statusCode, reason: `${member.httpAddress} answered ${answer.statusCode}: ${detail}` };
    } catch (error) {
      return { ok: false, status: null, reason: `${member.httpAddress}: ${error instanceof Error ? error.message || error.name : String(error)}` };
    }
  }
}

function resultOf(proof: Extract<PathProof, { ok: true }>, names: readonly Buffer[], { op, root }: TrustedRoot): Pick<VerifiedStat, 'stats' | 'missing' | 'checkpoint'> {
  const { outcome, records, timeMicros } = proof;
  const checkpoint = { op, root, records, timeMicros };
  if (outcome.kind === 'found') return { stats: new Stats(outcome.attributes), missing: null, checkpoint };
  return { stats: null, missing: names[outcome.missing] ?? Buffer.from('/'), checkpoint };
}

function nameOf({ op, root }: TrustedRoot): string {
  return `${op} ${root}`;
}

/** The newest checkpoint whose root so many members know, and that one of all who answered can still read. */
function newestAgreed(found: readonly Known[], needed: number): { readonly root: TrustedRoot; readonly members: readonly number[] } | null {
  const votes = new Map<string, { root: TrustedRoot; members: number[] }>();
  for (const { member, known } of found) {
    for (const [name, root] of known) {
      const vote = votes.get(name) ?? { root, members: [] };
      vote.members.push(member.id);
      votes.set(name, vote);
    }
  }
  const agreed = [...votes].filter(([name, { members }]) => members.length >= needed && found.some(({ held }) => held.has(name))).map(([, vote]) => vote);
  return agreed.sort((a, b) => b.root.op - a.root.op)[0] ?? null;
}

/** Null: that is no answer of this member. */
function readKnown(member: Member, json: unknown): Known | null {
  if (typeof json !== 'object' || json === null || !('memberId' in json) || json.memberId !== member.id) return null;
  const held = rootsOf('held' in json ? json.held : null);
  const known = rootsOf('known' in json ? json.known : null);
  if (held === null || known === null) return null;
  return { member, held: new Set(held.map(nameOf)), known: new Map([...held, ...known].map((root) => [nameOf(root), root])) };
}

function rootsOf(list: unknown): TrustedRoot[] | null {
  if (!Array.isArray(list)) return null;
  const roots: TrustedRoot[] = [];
  for (const item of list as unknown[]) {
    if (typeof item !== 'object' || item === null || !('op' in item) || !('root' in item)) return null;
    const { op, root } = item;
    if (typeof op !== 'number' || !Number.isSafeInteger(op) || op < 0 || op >= 2 ** 48 || typeof root !== 'string' || !/^[0-9a-f]{64}$/.test(root)) return null;
    roots.push({ op: opNumber(op), root: digest(Buffer.from(root, 'hex').latin1Slice()) });
  }
  return roots;
}

function escaped(name: Buffer): string {
  return [...name].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join('');
}
