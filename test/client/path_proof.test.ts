/** Proofs of paths, without a network: made of a real state, mutated in every place, verified. */
import { describe, expect, test } from 'vitest';
import { verifyPathProof, type PathProof, type TrustedRoot } from '../../client/path_proof.ts';
import { proofToJson, type JsonProof } from '../../checkpoint/proof_codec.ts';
import { namesOfPath } from '../../fsservice/proven_path.ts';
import { defined } from '../../lib/assert.ts';
import { ROOT_INO } from '../../fsservice/operations.ts';
import { opNumber } from '../../lib/ids.ts';
import { provePath } from '../../server/checkpoint_reader.ts';
import { places } from './json_places.ts';
import { at, State, TIME } from './proof_state.ts';

async function filled(): Promise<{ state: State; trusted: TrustedRoot }> {
  const state = await State.make();
  state.do({ type: 'mkdir', at: at('a'), mode: 0o755 });
  state.do({ type: 'mkdir', at: at('a/b'), mode: 0o700 });
  for (let i = 0; i < 300; i++) state.do({ type: 'create', at: at(`a/b/file-${i}`), mode: 0o640, exclusive: true, truncate: false });
  for (let i = 0; i < 100; i++) state.do({ type: 'create', at: at(`top-${i}`), mode: 0o644, exclusive: true, truncate: false });
  state.do({ type: 'symlink', at: at('a/link'), target: Buffer.from('b') });
  state.do({ type: 'create', at: at('caf\u00e9'), mode: 0o600, exclusive: true, truncate: false });
  return { state, trusted: await state.checkpoint() };
}

function names(path: string): Buffer[] {
  return defined(namesOfPath(Buffer.from(path, 'latin1')) ?? undefined, 'names');
}

async function jsonOf(state: State, path: string): Promise<JsonProof> {
  return proofToJson(defined((await provePath(state.store, names(path), null)) ?? undefined, 'a proof'));
}

function outcomeOf(proof: PathProof): object {
  return proof.ok ? proof.outcome : { refused: proof.reason };
}

describe('a path', () => {
  test.each([
    ['a/b/file-7', { kind: 'found', attributes: { type: 'file', mode: 0o640 } }],
    ['/a//b/./file-299/', { kind: 'found', attributes: { type: 'file' } }],
    ['', { kind: 'found', attributes: { type: 'directory', ino: ROOT_INO } }],
    ['a/link', { kind: 'found', attributes: { type: 'symlink' } }],
    ['caf\u00e9', { kind: 'found', attributes: { mode: 0o600 } }],
    ['a/b/file-300', { kind: 'absent', missing: 2, reason: 'no-entry' }],
    ['nothing/here', { kind: 'absent', missing: 0, reason: 'no-entry' }],
    ['top-3/x', { kind: 'absent', missing: 1, reason: 'no-directory' }],
    ['a/link/file-7', { kind: 'absent', missing: 2, reason: 'no-directory' }],
  ])("'%s' is proved to lead to what it leads to", async (path, outcome) => {
    const { state, trusted } = await filled();
    const proof = verifyPathProof(JSON.parse(JSON.stringify(await jsonOf(state, path))), names(path), trusted);
    expect(outcomeOf(proof)).toMatchObject(outcome);
    expect(proof).toMatchObject({ ok: true, timeMicros: TIME + trusted.op });
  });

  test('is proved as of the checkpoint, whatever has happened since', async () => {
    const { state, trusted } = await filled();
    state.do({ type: 'unlink', at: at('a/b/file-7') });
    state.do({ type: 'setattr', at: at('a/b/file-8'), follow: false, set: { mode: 0o777 } });
    expect(outcomeOf(verifyPathProof(await jsonOf(state, 'a/b/file-7'), names('a/b/file-7'), trusted))).toMatchObject({ kind: 'found' });
    const newer = await state.checkpoint();
    const gone = await jsonOf(state, 'a/b/file-7');
    expect(outcomeOf(verifyPathProof(gone, names('a/b/file-7'), newer))).toMatchObject({ kind: 'absent', missing: 2 });
    expect(outcomeOf(verifyPathProof(gone, names('a/b/file-7'), trusted))).toMatchObject({ refused: 'it is of another checkpoint' });
    // The older one is still served.
    const older = proofToJson(defined((await provePath(state.store, names('a/b/file-8'), trusted.op)) ?? undefined, 'a proof'));
    expect(outcomeOf(verifyPathProof(older, names('a/b/file-8'), trusted))).toMatchObject({ attributes: { mode: 0o640 } });
    expect(await provePath(state.store, names('a'), opNumber(1))).toBeNull();
  });

  test('of a group that has not begun leads to nothing', async () => {
    const state = await State.make();
    const trusted = await state.checkpoint();
    expect(outcomeOf(verifyPathProof(await jsonOf(state, 'a'), names('a'), trusted))).toEqual({ kind: 'absent', missing: 0, reason: 'no-entry' });
  });

  test.each(['a/../b', '..', 'x'.repeat(256)])("'%s' is none that is proved", (path) => {
    expect(namesOfPath(Buffer.from(path))).toBeNull();
  });
});

describe('a proof that was tampered with', () => {
  test.each(['a/b/file-7', 'a/b/absent', 'top-3/x', 'caf\u00e9'])("for '%s' is refused, whichever field was changed and how", async (path) => {
    const { state, trusted } = await filled();
    const json: unknown = JSON.parse(JSON.stringify(await jsonOf(state, path)));
    const other = await jsonOf(state, 'a/b/file-9');
    const text = JSON.stringify(json);
    const accepted = outcomeOf(verifyPathProof(json, names(path), trusted));
    expect(accepted).not.toHaveProperty('refused');
    const lies: unknown[] = [null, 0, 1, 0.5, -1, '', 'a', [], {}, true, '00', 'AA==', other.lookups[0], other.lookups, other.heads, other.pages, other.checkpoint, other];
    let tried = 0;
    for (const { now, put } of places(json, (v) => v)) {
      const own: unknown[] = [];
      if (typeof now === 'string') {
        for (const at of [0, now.length >> 1, now.length - 1]) own.push(now.slice(0, at) + (now.charAt(at) === '1' ? '2' : '1') + now.slice(at + 1));
        own.push(`${now}00`, now.slice(0, -2), now.toUpperCase(), `${now}=`, ` ${now}`);
      } else if (typeof now === 'number') own.push(now + 1, now - 1, String(now));
      else if (Array.isArray(now)) own.push(now.slice(1), now.slice(0, -1), [...now, ...now.slice(-1)], [...(now as unknown[])].reverse());
      else if (typeof now === 'object' && now !== null) {
        own.push({ ...now, more: 1 });
        for (const key of Object.keys(now)) own.push(Object.fromEntries(Object.entries(now).filter(([k]) => k !== key)));
      }
      for (const lie of [...lies, ...own]) {
        const forged = put(lie);
        if (JSON.stringify(forged) === text) continue;
        tried++;
        const result = verifyPathProof(forged, names(path), trusted);
        if (result.ok) throw new Error(`accepted with ${JSON.stringify(now).slice(0, 80)} replaced by ${JSON.stringify(lie).slice(0, 80)}`);
      }
    }
    expect(tried).toBeGreaterThan(500);
  });

  test('or is of another path, is refused', async () => {
    const { state, trusted } = await filled();
    const paths = ['', 'a', 'a/b', 'a/b/file-7', 'a/b/file-8', 'a/b/absent', 'nothing', 'top-3/x', 'a/link'];
    for (const proved of paths) {
      const json = await jsonOf(state, proved);
      for (const asked of paths) expect(verifyPathProof(json, names(asked), trusted).ok, `${proved} for ${asked}`).toBe(proved === asked);
    }
  });

  test('is not trusted for a root that nobody trusts', async () => {
    const { state, trusted } = await filled();
    const liar = await filled();
    liar.state.do({ type: 'setattr', at: at('a/b/file-7'), follow: false, set: { uid: 66 } });
    const forged = await liar.state.checkpoint();
    const json = await jsonOf(liar.state, 'a/b/file-7');
    expect(verifyPathProof(json, names('a/b/file-7'), forged).ok).toBe(true);
    expect(verifyPathProof(json, names('a/b/file-7'), trusted).ok).toBe(false);
    const honest = await jsonOf(state, 'a/b/file-7');
    expect(verifyPathProof({ ...json, checkpoint: honest.checkpoint }, names('a/b/file-7'), trusted).ok).toBe(false);
    expect(verifyPathProof({ ...honest, lookups: json.lookups }, names('a/b/file-7'), trusted).ok).toBe(false);
  });
});
