/** docs/PROOFS.md: its example is what this program makes, and its verifier, which shares no code with ours, is as strict as ours. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, test } from 'vitest';
import { verifyPathProof, type TrustedRoot } from '../../client/path_proof.ts';
import { innerHashOf, rootOfSlotsProof } from '../../checkpoint/hashes.ts';
import { hashOfRecord } from '../../checkpoint/page.ts';
import { proofToJson, type JsonProof } from '../../checkpoint/proof_codec.ts';
import { namesOfPath } from '../../fsservice/proven_path.ts';
import { defined } from '../../lib/assert.ts';
import { digestToHex, sha256Bytes } from '../../lib/hash.ts';
import { provePath } from '../../server/checkpoint_reader.ts';
import { temporaryDirectory } from '../checkpoint/store_support.ts';
import { places } from './json_places.ts';
import { at, State } from './proof_state.ts';

const DOC = readFileSync('docs/PROOFS.md', 'utf8');
const PATH = 'etc/app.json';

async function example(): Promise<{ state: State; trusted: TrustedRoot }> {
  const state = await State.make();
  state.do({ type: 'mkdir', at: at('etc'), mode: 0o755 });
  state.do({ type: 'create', at: at(PATH), mode: 0o640, exclusive: true, truncate: false });
  for (let i = 0; i < 90; i++) state.do({ type: 'create', at: at(`etc/${i}`), mode: 0o644, exclusive: true, truncate: false });
  return { state, trusted: await state.checkpoint() };
}

async function jsonOf(state: State, path: string): Promise<JsonProof> {
  const names = defined(namesOfPath(Buffer.from(path)) ?? undefined, 'names');
  return proofToJson(defined((await provePath(state.store, names, null)) ?? undefined, 'a proof'));
}

type Verify = (json: unknown, path: string, root: string) => Buffer | null;

/** The program in the document. */
async function documented(): Promise<Verify> {
  const code = defined(/## A verifier[^]*?```js\n([^]*?)```/.exec(DOC)?.[1], 'the program in the document');
  const file = join(temporaryDirectory(), 'verify.mjs');
  // It runs by itself when it is the program; here it is a library.
  writeFileSync(file, code.replace('if (process.argv[2])', 'if (false)'));
  const module = (await import(/* @vite-ignore */ pathToFileURL(file).href)) as { readonly verify: Verify };
  return module.verify;
}

function accepts(verify: Verify, json: unknown, path: string, root: string): boolean {
  try {
    verify(json, path, root);
    return true;
  } catch {
    return false;
  }
}

/** M and hash of each head, from the last up. */
function waysUp(steps: JsonProof['lookups'][number]['steps'], heads: JsonProof['heads'], page: Buffer): string[] {
  const out: string[] = [];
  let hash = sha256Bytes(page);
  // The slots that the text names.
  for (const [i, slot] of [[1, 3], [0, 0]] as const) {
    const step = defined(steps[i], 'a step');
    const root = rootOfSlotsProof(hash, slot, step.beside.map((text) => Buffer.from(text, 'hex')));
    hash = innerHashOf(Buffer.from(defined(heads[step.head], 'its head'), 'base64'), root);
    out.push(root.toString('hex'), hash.toString('hex'));
  }
  return out;
}

describe('docs/PROOFS.md', () => {
  test('has the example that this program makes', async () => {
    const { state, trusted } = await example();
    const json = await jsonOf(state, PATH);
    expect(JSON.parse(readFileSync('docs/proof-example.json', 'utf8'))).toEqual(json);
    // What the text says of it.
    const page = Buffer.from(defined(json.pages.at(-1), 'the last page'), 'base64');
    const lookup = defined(json.lookups.at(-1), 'the last lookup');
    const record = Buffer.from(defined(hashOfRecord(Buffer.concat([page, Buffer.alloc(10 * page.readUInt16BE(1) + 6)]), Buffer.from(lookup.key, 'hex')), 'the record'), 'latin1');
    expect(json.lookups.map(({ key }) => key)).toEqual(['00000000000102657463', '000000000002026170702e6a736f6e', '00000000000301']);
    for (const said of [digestToHex(trusted.root), json.checkpoint.top ?? '', json.checkpoint.extra.slice(-16), record.toString('hex'), sha256Bytes(page).toString('hex'), ...json.lookups.map(({ key }) => key), ...(lookup.steps[1]?.beside ?? []), ...waysUp(lookup.steps, json.heads, page)]) {
      expect(DOC).toContain(said);
    }
  });

  test('has a verifier that accepts what ours accepts', async () => {
    const verify = await documented();
    const { state, trusted } = await example();
    const root = digestToHex(trusted.root);
    const paths = ['', 'etc', PATH, 'etc/89', 'etc/none', 'none', 'etc/app.json/x', 'none/x'];
    for (const proved of paths) {
      const json = await jsonOf(state, proved);
      for (const asked of paths) {
        const ours = verifyPathProof(json, namesOfPath(Buffer.from(asked)) ?? [], trusted);
        // Where 'none' is not, 'none/x' is not either: the same proof.
        expect(ours.ok, `${proved} for ${asked}`).toBe(JSON.stringify(await jsonOf(state, asked)) === JSON.stringify(json));
        expect(accepts(verify, json, asked, root), `${proved} for ${asked}`).toBe(ours.ok);
        if (ours.ok) expect(verify(json, asked, root) !== null).toBe(ours.outcome.kind === 'found');
      }
      expect(accepts(verify, json, proved, 'f'.repeat(64))).toBe(false);
    }
  });

  test('has a verifier that is not deceived by what says something else', async () => {
    const verify = await documented();
    const { state, trusted } = await example();
    const root = digestToHex(trusted.root);
    for (const path of [PATH, 'etc/none']) {
      const json: unknown = JSON.parse(JSON.stringify(await jsonOf(state, path)));
      const truth = verify(json, path, root)?.toString('hex') ?? null;
      for (const { now, put } of places(json, (v) => v)) {
        const lies: unknown[] = [null, 0, 'AA==', '00', []];
        if (typeof now === 'string') for (let i = 0; i < now.length; i += Math.max(1, now.length >> 4)) lies.push(now.slice(0, i) + (now.charAt(i) === '1' ? '2' : '1') + now.slice(i + 1));
        if (Array.isArray(now)) lies.push(now.slice(1), now.slice(0, -1), [...(now as unknown[])].reverse());
        for (const lie of lies) {
          const forged = put(lie);
          if (!accepts(verify, forged, path, root)) continue;
          // It may be laxer in the form, such as with parts that nothing refers to; never in what it says.
          expect(verify(forged, path, root)?.toString('hex') ?? null, JSON.stringify(lie)).toBe(truth);
        }
      }
    }
  });
});
