import { MerkleTree } from 'merkletreejs';
import { describe, expect, onTestFinished, test } from 'vitest';
import { defined } from '../../lib/assert.ts';
import { EMPTY } from '../../lib/bytes.ts';
import { sha256Bytes } from '../../lib/hash.ts';
import { opNumber } from '../../lib/ids.ts';
import { MemoryTable } from '../../lib/memory_table.ts';
import { Prng } from '../../lib/prng.ts';
import type { PinnedCheckpoint } from '../../checkpoint/donor.ts';
import { ABSENT, rootOfSlotsProof, slotsProof, slotsRoot } from '../../checkpoint/hashes.ts';
import { verifyKey, verifyRoot, type KeyProof } from '../../checkpoint/proof.ts';
import { proofFromJson, proofToJson, type JsonProof, type Proof } from '../../checkpoint/proof_codec.ts';
import { proveKey } from '../../checkpoint/prove.ts';
import { change, openStore } from './store_support.ts';
import { fileKey, randomKey } from './tree_support.ts';

interface Filled {
  readonly at: PinnedCheckpoint;
  readonly model: MemoryTable;
}

async function filled(seed: number, changes: number, extra = Buffer.from('extra')): Promise<Filled> {
  const store = await openStore();
  const model = new MemoryTable();
  change(new Prng(seed), [store], model, changes);
  await store.take(opNumber(10), extra);
  const at = defined(store.pin() ?? undefined, 'a checkpoint');
  onTestFinished(() => at.release());
  return { at, model };
}

function topOf(at: PinnedCheckpoint): Buffer | null {
  return at.top?.hash ?? null;
}

describe('16 slots', () => {
  test('a proof leads to the root, as merkletreejs says too', () => {
    const r = new Prng(1);
    for (let round = 0; round < 20; round++) {
      const hashes = Array.from({ length: 16 }, () => (r.chance(0.4) ? ABSENT : r.bytes(32)));
      const root = slotsRoot(hashes);
      const tree = new MerkleTree(hashes, sha256Bytes);
      for (const [slot, leaf] of hashes.entries()) {
        const proof = slotsProof(hashes, slot);
        expect(rootOfSlotsProof(leaf, slot, proof).equals(root)).toBe(true);
        expect(proof).toHaveLength(4);
        const theirs = proof.map((data, level) => ({ position: ((slot >> level) & 1) === 0 ? ('right' as const) : ('left' as const), data }));
        expect(tree.verify(theirs, leaf, root)).toBe(true);
        expect(rootOfSlotsProof(leaf, slot ^ 1, proof).equals(root)).toBe(leaf.equals(hashes[slot ^ 1] ?? EMPTY));
      }
    }
  });
});

describe('a proof of a key', () => {
  test.each([[1, 0], [2, 1], [3, 40], [4, 70], [5, 600], [6, 3000]])('of every record, and of keys that are not there (seed %d, %d changes)', async (seed, changes) => {
    const { at, model } = await filled(seed, changes);
    const r = new Prng(seed + 100);
    expect(verifyRoot({ ...at.info, records: at.info.count, top: topOf(at) }, at.info.root)).toBeNull();
    const absent = Array.from({ length: 200 }, () => (r.chance(0.5) ? randomKey(r, 3000) : r.bytes(r.below(20)))).filter((key) => model.get(key) === undefined);
    const present = [...model.entries()].filter((_, i) => i % Math.ceil((changes + 1) / 400) === 0);
    for (const [key, value] of present) {
      const proof = await proveKey(at, key);
      expect(proof.value?.equals(value)).toBe(true);
      expect(verifyKey(topOf(at), proof)).toBeNull();
      // The same way says that it is not there, or is something else: refused.
      expect(verifyKey(topOf(at), { ...proof, value: null })).not.toBeNull();
      expect(verifyKey(topOf(at), { ...proof, value: Buffer.concat([value, Buffer.of(0)]) })).not.toBeNull();
    }
    for (const key of absent) {
      const proof = await proveKey(at, key);
      expect(proof.value).toBeNull();
      expect(verifyKey(topOf(at), proof)).toBeNull();
      expect(verifyKey(topOf(at), { ...proof, value: EMPTY })).not.toBeNull();
    }
  });

  test('does not hold for another key, another tree, or another root', async () => {
    const { at, model } = await filled(7, 800);
    const other = await filled(8, 800);
    const keys = [...model.entries()].map(([key]) => key);
    const proofs: KeyProof[] = [];
    for (const key of keys.slice(0, 60)) proofs.push(await proveKey(at, key));
    for (const [i, proof] of proofs.entries()) {
      expect(verifyKey(topOf(other.at), proof)).not.toBeNull();
      expect(verifyKey(null, proof)).not.toBeNull();
      const next = defined(proofs[(i + 1) % proofs.length], 'another proof');
      expect(verifyKey(topOf(at), { ...proof, key: next.key })).not.toBeNull();
      expect(verifyKey(topOf(at), { ...next, key: proof.key, value: null })).not.toBeNull();
    }
    const checkpoint = { ...at.info, records: at.info.count, top: topOf(at) };
    expect(verifyRoot(checkpoint, other.at.info.root)).not.toBeNull();
    expect(verifyRoot({ ...checkpoint, op: opNumber(11) }, at.info.root)).not.toBeNull();
    expect(verifyRoot({ ...checkpoint, records: checkpoint.records + 1 }, at.info.root)).not.toBeNull();
  });

  test('with steps left out, doubled or in another order is refused', async () => {
    const { at, model } = await filled(9, 3000);
    let deepest: KeyProof | null = null;
    for (const [key] of model.entries()) {
      const proof = await proveKey(at, key);
      if (proof.steps.length > (deepest?.steps.length ?? 0)) deepest = proof;
    }
    const proof = defined(deepest ?? undefined, 'a proof');
    const { steps } = proof;
    expect(steps.length).toBeGreaterThan(2);
    const top = topOf(at);
    for (let i = 0; i < steps.length; i++) {
      expect(verifyKey(top, { ...proof, steps: steps.filter((_, j) => j !== i) })).not.toBeNull();
      expect(verifyKey(top, { ...proof, steps: steps.slice(0, i) })).not.toBeNull();
      expect(verifyKey(top, { ...proof, steps: steps.slice(i + 1) })).not.toBeNull();
      expect(verifyKey(top, { ...proof, steps: [...steps.slice(0, i), ...steps.slice(i, i + 1), ...steps.slice(i)] })).not.toBeNull();
      const swapped = [...steps];
      const j = (i + 1) % steps.length;
      [swapped[i], swapped[j]] = [swapped[j] as KeyProof['steps'][number], swapped[i] as KeyProof['steps'][number]];
      expect(verifyKey(top, { ...proof, steps: swapped })).not.toBeNull();
      const beside = defined(steps[i], 'a step').beside;
      for (let n = 0; n < beside.length; n++) {
        expect(verifyKey(top, { ...proof, steps: steps.map((s, k) => (k === i ? { ...s, beside: beside.filter((_, m) => m !== n) } : s)) })).not.toBeNull();
      }
      if (beside.length === 4) expect(verifyKey(top, { ...proof, steps: steps.map((s, k) => (k === i ? { ...s, beside: [...beside].reverse() } : s)) })).not.toBeNull();
    }
    expect(verifyKey(top, { ...proof, page: null })).not.toBeNull();
    expect(verifyKey(top, { ...proof, steps: [], page: proof.page })).not.toBeNull();
  });

  test('that cuts the way of a record off where that of another key ends is refused', async () => {
    const { at, model } = await filled(10, 3000);
    // Honest nodes with the honest root over their slots, from proofs of keys that are not there.
    const ends = new Map<string, KeyProof['steps'][number]>();
    const r = new Prng(11);
    for (let i = 0; i < 1500; i++) {
      const { steps, page, value } = await proveKey(at, randomKey(r, 3000));
      const last = steps.at(-1);
      if (page === null && value === null && last !== undefined) ends.set(last.head.toString('hex'), last);
    }
    let tried = 0;
    for (const [key] of [...model.entries()].slice(0, 600)) {
      const { steps } = await proveKey(at, key);
      for (const [i, { head }] of steps.entries()) {
        const end = ends.get(head.toString('hex'));
        if (end === undefined) continue;
        tried++;
        expect(verifyKey(topOf(at), { key, value: null, page: null, steps: [...steps.slice(0, i), end] })).not.toBeNull();
      }
    }
    expect(tried).toBeGreaterThan(100);
  });
});

describe('a proof as JSON', () => {
  async function proofOf(seed: number, keys: number): Promise<Proof> {
    const { at, model } = await filled(seed, 500);
    const all = [...model.entries()].map(([key]) => key);
    const chosen = [...all.slice(0, keys), fileKey(0xffff_ffff, 7)];
    const lookups: KeyProof[] = [];
    for (const key of chosen) lookups.push(await proveKey(at, key));
    return { root: at.info.root, checkpoint: { op: at.info.op, records: at.info.count, extra: at.info.extra, top: topOf(at) }, lookups };
  }
  function verify(json: unknown, wanted: Proof): boolean {
    const read = proofFromJson(json);
    if (!read.ok) return false;
    const { root, checkpoint, lookups } = read.value;
    if (root !== wanted.root || verifyRoot(checkpoint, wanted.root) !== null) return false;
    if (lookups.length !== wanted.lookups.length) return false;
    return lookups.every((l, i) => l.key.equals(wanted.lookups[i]?.key ?? EMPTY) && verifyKey(checkpoint.top, l) === null);
  }

  test('is read as it was written, and holds what is shared once', async () => {
    const proof = await proofOf(1, 4);
    const json = proofToJson(proof);
    expect(verify(JSON.parse(JSON.stringify(json)), proof)).toBe(true);
    const read = proofFromJson(JSON.parse(JSON.stringify(json)));
    expect(read.ok && proofToJson(read.value)).toEqual(json);
    expect(json.heads.length).toBeLessThan(json.lookups.reduce((n, l) => n + l.steps.length, 0));
  });

  test('with any single character changed, left out or doubled is refused', async () => {
    const proof = await proofOf(2, 1);
    const text = JSON.stringify(proofToJson(proof));
    expect(verify(JSON.parse(text), proof)).toBe(true);
    const passed: string[] = [];
    const attempt = (mutated: string, what: string): void => {
      let json: unknown;
      try {
        json = JSON.parse(mutated);
      } catch {
        return; // not even JSON
      }
      // The same value in another spelling (a number with a zero behind its point) is the same proof.
      if (JSON.stringify(json) !== text && verify(json, proof)) passed.push(what);
    };
    const flip = (c: string): string => String.fromCharCode(c.charCodeAt(0) ^ 1);
    for (let i = 0; i < text.length; i++) {
      const c = text.charAt(i);
      attempt(text.slice(0, i) + flip(c) + text.slice(i + 1), `${i} flipped`);
      attempt(text.slice(0, i) + (c === '0' ? '1' : '0') + text.slice(i + 1), `${i} another`);
      attempt(text.slice(0, i) + text.slice(i + 1), `${i} left out`);
      attempt(text.slice(0, i) + c + text.slice(i), `${i} doubled`);
    }
    expect(passed).toEqual([]);
    for (let length = 0; length < text.length; length++) expect(() => { JSON.parse(text.slice(0, length)); }).toThrow();
  }, 60_000);

  test('with any byte of any of its parts changed is refused', async () => {
    const proof = await proofOf(3, 2);
    const json = proofToJson(proof);
    const refusedAt = (mutate: (copy: { -readonly [K in keyof JsonProof]: JsonProof[K] }) => void): void => {
      const copy = structuredClone(json) as { -readonly [K in keyof JsonProof]: JsonProof[K] };
      mutate(copy);
      expect(verify(copy, proof)).toBe(false);
    };
    for (const part of ['heads', 'pages'] as const) {
      for (const [n, text] of json[part].entries()) {
        const bytes = Buffer.from(text, 'base64');
        for (let at = 0; at < bytes.length; at++) {
          for (const bit of [1, 0x80]) {
            const damaged = Buffer.from(bytes);
            damaged[at] = (damaged[at] ?? 0) ^ bit;
            refusedAt((copy) => { copy[part] = copy[part].map((other, m) => (m === n ? damaged.toString('base64') : other)); });
          }
        }
        refusedAt((copy) => { copy[part] = [...copy[part], Buffer.from('more').toString('base64')]; });
        refusedAt((copy) => { copy[part] = [...copy[part]].reverse().slice(n === 0 ? 1 : 0); });
      }
    }
    refusedAt((copy) => { copy.lookups = [...copy.lookups].reverse(); });
    refusedAt((copy) => { copy.lookups = copy.lookups.slice(1); });
    refusedAt((copy) => { copy.lookups = [...copy.lookups, ...copy.lookups.slice(0, 1)]; });
    refusedAt((copy) => { copy.checkpoint = { ...copy.checkpoint, top: null }; });
    refusedAt((copy) => { Object.assign(copy, { more: 1 }); });
  }, 60_000);

  test.each([null, 1, 'x', [], {}, { format: 'vrfs-proof-1' }, { format: 'vrfs-proof-2', checkpoint: {}, lookups: [], heads: [], pages: [] }])('%j is none', (json) => {
    expect(proofFromJson(json).ok).toBe(false);
  });
});
