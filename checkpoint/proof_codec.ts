/**
 * Proofs as JSON (docs/PROOFS.md): hashes and keys in hexadecimal, what is longer in base64. What several ways share, the nodes
 * near the root above all, stands once. Decoding is strict: another text of the same bytes is refused, and so is what nothing refers to.
 */
import { DecodeError, type Decoded } from '../lib/bytes.ts';
import { digestToHex } from '../lib/hash.ts';
import { digest, opNumber, type Digest } from '../lib/ids.ts';
import { HASH_BYTES, MAX_EXTRA_BYTES } from './hashes.ts';
import type { KeyProof, ProofStep, ProvenCheckpoint } from './proof.ts';

export const PROOF_FORMAT = 'vrfs-proof-1';

export interface Proof {
  readonly root: Digest;
  readonly checkpoint: ProvenCheckpoint;
  readonly lookups: readonly KeyProof[];
}

export interface JsonProof {
  readonly format: typeof PROOF_FORMAT;
  readonly checkpoint: { readonly op: number; readonly root: string; readonly records: number; readonly extra: string; readonly top: string | null };
  readonly heads: readonly string[];
  readonly pages: readonly string[];
  readonly lookups: readonly JsonLookup[];
}
interface JsonLookup {
  readonly key: string;
  readonly value: string | null;
  readonly steps: readonly { readonly head: number; readonly beside: readonly string[] }[];
  readonly page: number | null;
}

/** Things that are referred to by their number. */
class Pool {
  readonly texts: string[] = [];
  readonly #numbers = new Map<string, number>();
  add(bytes: Buffer): number {
    const text = bytes.toString('base64');
    const known = this.#numbers.get(text);
    if (known !== undefined) return known;
    this.#numbers.set(text, this.texts.length);
    return this.texts.push(text) - 1;
  }
}

export function proofToJson({ root, checkpoint, lookups }: Proof): JsonProof {
  const heads = new Pool();
  const pages = new Pool();
  const { op, records, extra, top } = checkpoint;
  return {
    format: PROOF_FORMAT,
    checkpoint: { op, root: digestToHex(root), records, extra: extra.toString('hex'), top: top?.toString('hex') ?? null },
    lookups: lookups.map(({ key, value, steps, page }) => ({
      key: key.toString('hex'),
      value: value?.toString('base64') ?? null,
      steps: steps.map(({ head, beside }) => ({ head: heads.add(head), beside: beside.map((hash) => hash.toString('hex')) })),
      page: page === null ? null : pages.add(page),
    })),
    heads: heads.texts,
    pages: pages.texts,
  };
}

/** What an untrusted answer says, as far as its form goes; what it proves, proof.ts finds. */
export function proofFromJson(json: unknown): Decoded<Proof> {
  try {
    return { ok: true, value: readProof(json) };
  } catch (error) {
    if (error instanceof DecodeError) return { ok: false, reason: error.message };
    throw error;
  }
}

type Fields = Readonly<Record<string, unknown>>;

function fieldsOf(value: unknown, names: readonly string[], what: string): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new DecodeError(`${what} is no object`);
  const found = Object.keys(value);
  const wrong = found.find((name) => !names.includes(name)) ?? names.find((name) => !found.includes(name));
  if (wrong !== undefined) throw new DecodeError(`${what} has the fields ${names.join(', ')}, and no others; '${wrong.slice(0, 40)}' is missing or too many`);
  return value as Fields;
}

function listOf<T>(value: unknown, what: string, each: (item: unknown) => T): T[] {
  if (!Array.isArray(value)) throw new DecodeError(`${what} is no list`);
  return value.map(each);
}

function integer(value: unknown, limit: number, what: string): number {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value >= limit || Object.is(value, -0)) throw new DecodeError(`${what} is out of range`);
  return value;
}

function bytesOf(value: unknown, encoding: 'hex' | 'base64', what: string): Buffer {
  const bytes = typeof value === 'string' ? Buffer.from(value, encoding) : null;
  // The decoders are lenient; one text only stands for these bytes.
  if (bytes === null || bytes.toString(encoding) !== value) throw new DecodeError(`${what} is not ${encoding}`);
  return bytes;
}

function hashOf(value: unknown, what: string): Buffer {
  const bytes = bytesOf(value, 'hex', what);
  if (bytes.length !== HASH_BYTES) throw new DecodeError(`${what} has ${bytes.length} bytes`);
  return bytes;
}

function readProof(json: unknown): Proof {
  const all = fieldsOf(json, ['format', 'checkpoint', 'lookups', 'heads', 'pages'], 'the proof');
  if (all['format'] !== PROOF_FORMAT) throw new DecodeError(`a proof of another format than ${PROOF_FORMAT}`);
  const c = fieldsOf(all['checkpoint'], ['op', 'root', 'records', 'extra', 'top'], 'the checkpoint');
  const extra = bytesOf(c['extra'], 'hex', 'extra');
  if (extra.length > MAX_EXTRA_BYTES) throw new DecodeError(`extra has ${extra.length} bytes`);
  const heads = new References(listOf(all['heads'], 'heads', (head) => bytesOf(head, 'base64', 'a head')), 'head');
  const pages = new References(listOf(all['pages'], 'pages', (page) => bytesOf(page, 'base64', 'a page')), 'page');
  const lookups = listOf(all['lookups'], 'lookups', (lookup) => readLookup(lookup, heads, pages));
  heads.done();
  pages.done();
  return {
    root: digest(hashOf(c['root'], 'the root').latin1Slice()),
    checkpoint: {
      op: opNumber(integer(c['op'], 2 ** 48, 'op')), records: integer(c['records'], 2 ** 48, 'records'), extra,
      top: c['top'] === null ? null : hashOf(c['top'], 'top'),
    },
    lookups,
  };
}

function readLookup(json: unknown, heads: References, pages: References): KeyProof {
  const fields = fieldsOf(json, ['key', 'value', 'steps', 'page'], 'a lookup');
  const steps = listOf(fields['steps'], 'steps', (step): ProofStep => {
    const { head, beside } = fieldsOf(step, ['head', 'beside'], 'a step');
    return { head: heads.at(head), beside: listOf(beside, 'beside', (hash) => hashOf(hash, 'a hash')) };
  });
  return {
    key: bytesOf(fields['key'], 'hex', 'a key'),
    value: fields['value'] === null ? null : bytesOf(fields['value'], 'base64', 'a value'),
    steps,
    page: fields['page'] === null ? null : pages.at(fields['page']),
  };
}

/** Each is referred to, for the first time in its order. */
class References {
  readonly #all: readonly Buffer[];
  readonly #what: string;
  #next = 0;
  constructor(all: readonly Buffer[], what: string) {
    this.#all = all;
    this.#what = what;
    if (new Set(all.map((bytes) => bytes.latin1Slice())).size !== all.length) throw new DecodeError(`a ${what} stands there twice`);
  }
  at(number: unknown): Buffer {
    const i = integer(number, this.#all.length, `the number of a ${this.#what}`);
    if (i > this.#next) throw new DecodeError(`the numbers of a ${this.#what} are not in order`);
    if (i === this.#next) this.#next++;
    return this.#all[i] as Buffer;
  }
  done(): void {
    if (this.#next !== this.#all.length) throw new DecodeError(`a ${this.#what} that nothing refers to`);
  }
}
