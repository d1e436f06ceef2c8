/** A checkpoint at a replica, read over its HTTP API (POST /v1/checkpoints/read). Nothing is believed but the root that the caller names. */
import { request } from 'undici';
import type { Member } from '../vr/configuration.ts';
import { verifyRoot } from '../checkpoint/proof.ts';
import type { TreeNode, TreeSource } from '../checkpoint/tree_diff.ts';
import { opNumber } from '../lib/ids.ts';
import { CheckpointUnavailable, NotVerified } from './errors.ts';
import type { TrustedRoot } from './path_proof.ts';

/** What one request may ask for (server/http/checkpoint_routes.ts), and how many bytes of JSON it may have. */
const PARTS_MAX = 256;
const BODY_MAX = 48 << 10;
/** The longest answer that is read. */
const ANSWER_MAX = 64 << 20;
/** Inner nodes near the top are asked for again and again. */
const CACHED_NODES = 4096;

interface Parts {
  readonly checkpoint: { readonly op: number; readonly records: number; readonly extra: string; readonly top: { readonly id: string; readonly hash: string } | null };
  readonly nodes: readonly (string | null)[];
  readonly records: readonly (string | null)[];
}

export class RemoteCheckpoint implements TreeSource {
  readonly top: TreeNode | null;
  readonly member: Member;
  readonly at: TrustedRoot;
  /** Records of the whole state. */
  readonly count: number;
  readonly #timeoutMs: number;
  readonly #cache = new Map<string, Buffer>();
  #nodesRead = 0;
  #bytes = 0;

  private constructor(member: Member, at: TrustedRoot, top: TreeNode | null, count: number, timeoutMs: number) {
    this.member = member;
    this.at = at;
    this.top = top;
    this.count = count;
    this.#timeoutMs = timeoutMs;
  }

  /** Rejects with CheckpointUnavailable when the member does not answer or no longer holds it, and with NotVerified when it has another root. */
  static async open(member: Member, at: TrustedRoot, timeoutMs: number): Promise<RemoteCheckpoint> {
    const { parts } = await ask(member, { op: at.op }, timeoutMs);
    const { op, records, extra, top } = parts.checkpoint;
    const node = top === null ? null : { id: Buffer.from(top.id, 'hex').latin1Slice(), hash: Buffer.from(top.hash, 'hex') };
    const wrong = verifyRoot({ op: opNumber(op), records, extra: Buffer.from(extra, 'hex'), top: node?.hash ?? null }, at.root);
    if (wrong !== null) throw new NotVerified('refused', `member ${member.id} (${member.httpAddress}) answers with another checkpoint than it names: ${wrong}`);
    return new RemoteCheckpoint(member, at, node, records, timeoutMs);
  }

  /** Nodes that were asked for, and bytes of answers. */
  get figures(): { readonly nodes: number; readonly bytes: number } {
    return { nodes: this.#nodesRead, bytes: this.#bytes };
  }

  async nodes(ids: readonly string[]): Promise<(Buffer | null)[]> {
    const missing = ids.filter((id) => !this.#cache.has(id));
    const read = await this.#all(missing.map((id) => Buffer.from(id, 'latin1').toString('hex')), 'nodes');
    this.#nodesRead += missing.length;
    const found = new Map(missing.map((id, i) => [id, read[i] ?? null]));
    const answer = ids.map((id) => found.get(id) ?? this.#cache.get(id) ?? null);
    for (const [id, bytes] of found) if (bytes !== null && this.#cache.size < CACHED_NODES) this.#cache.set(id, bytes);
    return answer;
  }

  records(keys: readonly Buffer[]): Promise<(Buffer | null)[]> {
    return this.#all(keys.map((key) => key.toString('hex')), 'records');
  }

  /** An answer may have fewer parts than were asked for. */
  async #all(names: readonly string[], what: 'nodes' | 'records'): Promise<(Buffer | null)[]> {
    const parts: (Buffer | null)[] = [];
    while (parts.length < names.length) {
      const { parts: answer, bytes } = await ask(this.member, { op: this.at.op, [what]: someOf(names, parts.length) }, this.#timeoutMs);
      this.#bytes += bytes;
      if (answer[what].length === 0) throw malformed(this.member);
      for (const part of answer[what]) parts.push(part === null ? null : Buffer.from(part, 'base64'));
    }
    return parts;
  }
}

function someOf(names: readonly string[], from: number): string[] {
  const some: string[] = [];
  let bytes = 0;
  for (let i = from; i < names.length && some.length < PARTS_MAX; i++) {
    const name = names[i] as string;
    bytes += name.length + 3;
    if (bytes > BODY_MAX && some.length > 0) break;
    some.push(name);
  }
  return some;
}

async function ask(member: Member, body: object, timeoutMs: number): Promise<{ readonly parts: Parts; readonly bytes: number }> {
  const url = `http://${member.httpAddress}/v1/checkpoints/read`;
  const where = `member ${member.id} (${member.httpAddress})`;
  let status: number;
  let json: unknown;
  let bytes = 0;
  try {
    const answer = await request(url, {
      method: 'POST', body: JSON.stringify(body), signal: AbortSignal.timeout(timeoutMs),
      headers: { 'content-type': 'application/json', 'x-vrfs-uid': '0', 'x-vrfs-gid': '0' },
    });
    status = answer.statusCode;
    const chunks: Buffer[] = [];
    for await (const chunk of answer.body as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes > ANSWER_MAX) throw new Error(`an answer of more than ${ANSWER_MAX} bytes`);
      chunks.push(chunk);
    }
    json = JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } catch (error) {
    throw new CheckpointUnavailable(`${where} does not answer: ${error instanceof Error ? error.message || error.name : String(error)}`, { cause: error });
  }
  if (status !== 200) {
    const detail = typeof json === 'object' && json !== null && 'detail' in json ? String(json.detail) : '';
    throw new CheckpointUnavailable(`${where} answers ${status}: ${detail}`);
  }
  if (!isParts(json)) throw malformed(member);
  return { parts: json, bytes };
}

function malformed(member: Member): NotVerified {
  return new NotVerified('refused', `member ${member.id} (${member.httpAddress}) does not answer as a replica of this version does`);
}

function isParts(json: unknown): json is Parts {
  if (typeof json !== 'object' || json === null || !('checkpoint' in json) || !('nodes' in json) || !('records' in json)) return false;
  return isCheckpoint(json.checkpoint) && isTexts(json.nodes) && isTexts(json.records);
}

function isCheckpoint(json: unknown): json is Parts['checkpoint'] {
  if (typeof json !== 'object' || json === null || !('op' in json) || !('records' in json) || !('extra' in json) || !('top' in json)) return false;
  const { op, records, extra, top } = json;
  const isTop = top === null || (typeof top === 'object' && 'id' in top && 'hash' in top && isHex(top.id) && isHex(top.hash));
  return isCount(op) && isCount(records) && isHex(extra) && extra.length <= 512 && isTop;
}

function isCount(n: unknown): n is number {
  return typeof n === 'number' && Number.isSafeInteger(n) && n >= 0 && n < 2 ** 48;
}
function isHex(text: unknown): text is string {
  return typeof text === 'string' && /^(?:[0-9a-f]{2})*$/.test(text);
}
function isTexts(list: unknown): list is (string | null)[] {
  return Array.isArray(list) && list.every((item) => item === null || typeof item === 'string');
}
