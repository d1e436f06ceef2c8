/**
 * Donors that lie. Every byte of every answer of a transfer is changed, cut off or doubled, and every field of it is
 * changed in each way that its type allows. Whatever is said, nothing is installed but what was there before or is of the
 * target, and with an honest donor beside the liar the target is reached.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EMPTY, Writer } from '../../lib/bytes.ts';
import { digest, opNumber } from '../../lib/ids.ts';
import { Prng } from '../../lib/prng.ts';
import type { MemoryTable } from '../../lib/memory_table.ts';
import { FetchFailed, TargetGone, type DonorConnection } from '../../checkpoint/fetch_report.ts';
import { MemoryRecordStore, type MemoryCheckpoint } from '../../checkpoint/memory_record_store.ts';
import { RecordStore } from '../../checkpoint/record_store.ts';
import {
  beginAnswer, decodeRequest, encodeGone, encodeRefused, encodeRequest, encodeWait, isFollowed, putInner, putMissing, putPage, toldChildren,
  type NodeRequest, type TransferRequest,
} from '../../checkpoint/transfer_messages.ts';
import { MemoryOwn, NO_EXTRA, recordsOfTable } from './memory_own.ts';
import { fileKey, u32 } from './tree_support.ts';
import { decodeWhole, type WholeAnswer } from './whole_answer.ts';

const LIMITS = { maxAnswerBytes: 300, maxItems: 4, requestsPerDonor: 1, installBytes: 1, answerMs: 5000, deferMs: 0 };

interface World {
  readonly donor: RecordStore;
  readonly before: MemoryCheckpoint;
  readonly after: MemoryCheckpoint;
  readonly answers: Map<string, Buffer>;
}

/** Files of several directories; some change, some go, some come. */
async function makeWorld(): Promise<World> {
  const donor = await RecordStore.open({ directory });
  const memory = new MemoryRecordStore();
  for (const table of [donor, memory]) {
    for (let i = 0; i < 100; i++) table.put(fileKey(1 + Math.floor(i / 40) * 7, 1, `f${i}`), Buffer.alloc(6, i));
  }
  await donor.take(opNumber(1), NO_EXTRA);
  const before = memory.take(opNumber(1), NO_EXTRA);
  for (const table of [donor, memory]) {
    for (let i = 0; i < 100; i += 29) table.put(fileKey(1 + Math.floor(i / 40) * 7, 1, `f${i}`), Buffer.alloc(9, i + 1));
    for (let i = 3; i < 100; i += 43) table.delete(fileKey(1 + Math.floor(i / 40) * 7, 1, `f${i}`));
    for (let i = 0; i < 12; i++) table.put(fileKey(900 + i, 0), u32(i));
  }
  const info = await donor.take(opNumber(2), Buffer.from('extra'));
  const after = memory.take(opNumber(2), Buffer.from('extra'));
  expect(info.root).toBe(after.root);
  return { donor, before, after, answers: new Map() };
}

const directory = mkdtempSync(join(tmpdir(), 'vrfs-lies-'));
let world: World;
beforeAll(async () => {
  world = await makeWorld();
});
afterAll(async () => {
  await world.donor.close();
  rmSync(directory, { recursive: true, force: true });
});

/** What the honest donor says; it says the same each time. */
async function honest(request: Buffer): Promise<Buffer> {
  const key = request.toString('latin1');
  const known = world.answers.get(key);
  if (known !== undefined) return known;
  const answer = await world.donor.serve(request);
  world.answers.set(key, answer);
  return answer;
}

const honestDonor: DonorConnection = { name: 'honest', request: honest };

/** Tells the truth but for the `turn`-th answer. */
function liar(turn: number, lie: (answer: Buffer) => Buffer): DonorConnection {
  let asked = 0;
  return { name: 'liar', request: async (body) => (asked++ === turn ? lie(await honest(body)) : honest(body)) };
}

function onlyOf(table: MemoryTable, all: readonly ReadonlyMap<string, string>[]): boolean {
  return [...recordsOfTable(table)].every(([key, value]) => all.some((one) => one.get(key) === value));
}

async function tryLie(from: MemoryCheckpoint, turn: number, lie: (answer: Buffer) => Buffer): Promise<void> {
  const { after } = world;
  const target = recordsOfTable(after.records);
  const beside = new MemoryOwn(from);
  await beside.fetch(after, [liar(turn, lie), honestDonor], LIMITS);
  expect(beside.final?.root).toBe(after.root);
  expect(recordsOfTable(beside.table)).toEqual(target);
  const alone = new MemoryOwn(from);
  try {
    await alone.fetch(after, [liar(turn, lie)], LIMITS);
    expect(recordsOfTable(alone.table)).toEqual(target);
  } catch (error) {
    if (!(error instanceof FetchFailed) && !(error instanceof TargetGone)) throw error;
    expect(alone.final).toBeNull();
    expect(onlyOf(alone.table, [recordsOfTable(from.records), target])).toBe(true);
  }
}

/** The requests and answers of a transfer without lies. */
async function transcript(from: MemoryCheckpoint): Promise<{ readonly request: TransferRequest; readonly answer: Buffer }[]> {
  const out: { request: TransferRequest; answer: Buffer }[] = [];
  const recording: DonorConnection = {
    name: 'recording',
    request: async (body) => {
      const request = decodeRequest(body);
      if (!request.ok) throw new Error(request.reason);
      const answer = await honest(body);
      out.push({ request: request.value, answer });
      return answer;
    },
  };
  await new MemoryOwn(from).fetch(world.after, [recording], LIMITS);
  return out;
}

const starts = [
  ['from the checkpoint before', () => world.before],
  ['from nothing', () => new MemoryRecordStore().checkpoint],
] as const;

describe.each(starts)('%s', (_name, start) => {
  test('every byte of every answer changed, cut off, doubled', async () => {
    const rounds = await transcript(start());
    expect(rounds.length).toBeGreaterThan(1);
    const step = start() === world.before ? 1 : 5;
    let lies = 0;
    for (const [turn, { answer }] of rounds.entries()) {
      for (let at = 0; at < answer.length; at += step) {
        const bit = 1 << (at & 7);
        const ways: ((a: Buffer) => Buffer)[] = [
          (a) => changed(a, at, (a[at] as number) ^ bit),
          (a) => changed(a, at, 0xff - (a[at] as number)),
          (a) => a.subarray(0, at),
          (a) => Buffer.concat([a.subarray(0, at + 1), a.subarray(at)]),
        ];
        for (const way of ways) {
          await tryLie(start(), turn, way);
          lies++;
        }
      }
    }
    expect(lies).toBeGreaterThan(1000);
  });

  test('every field of every answer changed in every way that its type allows', async () => {
    let lies = 0;
    for (const [turn, { request, answer }] of (await transcript(start())).entries()) {
      const decoded = decodeWhole(answer, request);
      if (!decoded.ok) throw new Error(decoded.reason);
      expect(encodeAnswer(decoded.value, request)).toEqual(answer);
      for (const lie of variants(decoded.value)) {
        const bytes = encoded(lie as WholeAnswer, request);
        if (bytes === null || bytes.equals(answer)) continue;
        await tryLie(start(), turn, () => bytes);
        lies++;
      }
    }
    expect(lies).toBeGreaterThan(300);
  });

  test('answers of which several parts are changed, repeated, left out and taken from others', async () => {
    const rounds = await transcript(start());
    const answers = rounds.map(({ answer }) => answer);
    const r = new Prng(31);
    for (let i = 0; i < 800; i++) {
      const turn = r.below(answers.length);
      const bytes = mangled(r, answers[turn] as Buffer, answers);
      await tryLie(start(), turn, () => bytes);
    }
  });

  test('a root with more bytes beside it than a replica puts there', async () => {
    for (const length of [257, 300, 0xffff]) {
      for (const top of [0, 1, 2]) await tryLie(start(), 0, () => new Writer().u8(0).bool(true).u48(0).bytes16(Buffer.alloc(length)).u8(top).raw(Buffer.alloc(top === 0 ? 0 : 34)).finish());
    }
  });

  test('answers of another kind, of another request, of another checkpoint', async () => {
    const rounds = await transcript(start());
    const others: ((a: Buffer) => Buffer)[] = [
      () => encodeGone([]),
      () => encodeGone([{ op: opNumber(9), root: digest('z'.repeat(32)) }]),
      () => encodeRefused(''),
      () => encodeWait(0),
      () => encodeWait(0xffff_ffff),
      () => Buffer.alloc(0),
      () => Buffer.from([0, 0]),
      ...rounds.map(({ answer }) => () => answer),
    ];
    for (let turn = 0; turn < rounds.length; turn++) for (const other of others) await tryLie(start(), turn, other);
  });
});

test('a donor answers every request of which parts are changed', async () => {
  const requests: Buffer[] = [];
  for (const [, start] of starts) for (const { request } of await transcript(start())) requests.push(encodeRequest(request));
  const r = new Prng(32);
  const types = new Set<number>();
  for (let i = 0; i < 4000; i++) {
    const asked = r.pick(requests);
    // What says which checkpoint is left alone mostly: behind it are the places.
    const head = r.chance(0.9) ? 45 : 0;
    const answer = await world.donor.serve(Buffer.concat([asked.subarray(0, head), mangled(r, asked.subarray(head), requests)]));
    types.add(answer[0] as number);
  }
  expect([...types].sort()).toEqual([0, 1, 2]);
});

function changed(bytes: Buffer, at: number, value: number): Buffer {
  const out = Buffer.from(bytes);
  out[at] = value;
  return out;
}

/** A few changes of the kinds that make another answer that can be read. */
function mangled(r: Prng, answer: Buffer, others: readonly Buffer[]): Buffer {
  let bytes = Buffer.from(answer);
  for (let left = r.between(1, 4); left > 0; left--) {
    // Mostly at the beginning, where lengths and places are.
    const at = r.below(r.chance(0.5) ? Math.min(80, bytes.length + 1) : bytes.length + 1);
    const end = Math.min(bytes.length, at + r.below(40));
    const other = r.pick(others);
    const from = r.below(other.length);
    const put = [
      () => r.bytes(end - at),
      () => EMPTY,
      () => r.bytes(r.below(600)),
      () => Buffer.alloc(r.below(600), r.pick([0, 1, 0x7f, 0x80, 0xff])),
      () => other.subarray(from, from + r.below(200)),
    ];
    bytes = Buffer.concat([bytes.subarray(0, at), r.pick(put)(), bytes.subarray(end)]);
  }
  return bytes;
}

// --- fields ------------------------------------------------------------------------------------------------------------

/** The value with one field of it, at any depth, other than it is. */
function* variants(value: unknown): Generator {
  if (value === null || value === undefined) return;
  if (typeof value === 'number') {
    for (const n of [value + 1, value - 1, 0, value * 2]) if (n !== value && n >= 0) yield n;
  } else if (typeof value === 'boolean') {
    yield !value;
  } else if (typeof value === 'string') {
    if (value === 'page' || value === 'inner') yield value === 'page' ? 'inner' : 'page';
  } else if (value instanceof Buffer) {
    yield* bufferVariants(value);
  } else if (Array.isArray(value)) {
    yield* arrayVariants(value);
  } else if (typeof value === 'object') {
    for (const [key, field] of Object.entries(value)) {
      if (field !== null && typeof field === 'object') yield { ...value, [key]: null };
      for (const variant of variants(field)) yield { ...value, [key]: variant };
    }
  }
}
function* bufferVariants(value: Buffer): Generator<Buffer> {
  yield Buffer.concat([value, Buffer.from([0])]);
  if (value.length === 0) return;
  yield changed(value, 0, (value[0] as number) ^ 0x80);
  yield changed(value, value.length - 1, (value[value.length - 1] as number) ^ 1);
  yield value.subarray(0, -1);
  yield Buffer.alloc(value.length);
  yield Buffer.alloc(257, value[0]);
}
function* arrayVariants(value: readonly unknown[]): Generator {
  for (const [i, element] of value.entries()) {
    yield value.filter((_, at) => at !== i);
    yield [...value.slice(0, i + 1), ...value.slice(i)];
    if (i > 0) yield value.map((other, at) => (at === i ? value[i - 1] : at === i - 1 ? element : other));
    if (element !== null) yield value.map((other, at) => (at === i ? null : other));
    for (const variant of variants(element)) yield value.map((other, at) => (at === i ? variant : other));
  }
}

function encodeAnswer(answer: WholeAnswer, request: TransferRequest): Buffer {
  if (answer.type !== 'nodes') throw new Error('an answer with nodes');
  const w = new Writer();
  beginAnswer(w, answer.top);
  const places: NodeRequest[] = [...request.items];
  if (answer.top?.top) places.unshift({ ...answer.top.top.place, full: request.top === 'full' });
  for (const [i, node] of answer.nodes.entries()) {
    // More than there are places for: said of the last.
    const place = places[Math.min(i, places.length - 1)] as NodeRequest;
    if (node.kind === 'missing') putMissing(w);
    else if (node.kind === 'page') putPage(w, node, place);
    else {
      putInner(w, node.slots, place.bits >> 2);
      if (isFollowed(request, place)) places.push(...toldChildren(place, node.slots));
    }
  }
  return w.finish();
}

/** Null: there are no bytes for such an answer. */
function encoded(answer: WholeAnswer, request: TransferRequest): Buffer | null {
  try {
    return encodeAnswer(answer, request);
  } catch (error) {
    // A number out of its range, a field that is not there.
    if (error instanceof TypeError || error instanceof RangeError) return null;
    throw error;
  }
}
