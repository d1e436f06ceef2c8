import { expect, onTestFinished, test, vi } from 'vitest';
import { EMPTY } from '../../lib/bytes.ts';
import { opNumber } from '../../lib/ids.ts';
import { MemoryTable } from '../../lib/memory_table.ts';
import { Prng } from '../../lib/prng.ts';
import { Donor, type PinnedCheckpoint } from '../../checkpoint/donor.ts';
import { Pace } from '../../checkpoint/pace.ts';
import type { RecordStore } from '../../checkpoint/record_store.ts';
import { encodeRequest, toldChildren, type NodeRequest, type TransferRequest } from '../../checkpoint/transfer_messages.ts';
import { FailingStore, change, openStore, temporaryDirectory } from './store_support.ts';
import { decodeWhole } from './whole_answer.ts';

class Pressed extends Pace {
  override get isPressed(): boolean {
    return true;
  }
}

async function donorOf({ info, top, snapshot }: PinnedCheckpoint, pace: Pace): Promise<Donor> {
  const donor = new Donor({ maxCheckpoints: 1, maxPinned: 0, maxPinnedMs: 0, maxIdleMs: 60_000, maxAnswerBytes: 1 << 20, sliceMs: 1000, pace });
  await donor.publish(info, top, snapshot);
  return donor;
}

test('a donor that gives way to clients reads otherwise and answers the same, whatever is asked for and how often', async () => {
  const r = new Prng(3);
  const directory = temporaryDirectory();
  const level = await FailingStore.open(directory);
  const store = await openStore({ directory, openStore: () => Promise.resolve(level) });
  const model = new MemoryTable();
  for (let op = 1; op <= 3; op++) {
    change(r, [store], model, 3000);
    await store.take(opNumber(op), EMPTY);
  }
  const pinned = store.pin();
  if (pinned === null) throw new Error('no checkpoint');
  onTestFinished(() => pinned.release());
  const unbounded = { bytesPerSecond: 0, othersMs: null };
  const plain = await donorOf(pinned, new Pace(unbounded));
  const pressed = await donorOf(pinned, new Pressed(unbounded));
  const answer = async (asked: Partial<TransferRequest>): Promise<ReturnType<typeof decodeWhole>> => {
    const request: TransferRequest = { op: pinned.info.op, root: pinned.info.root, since: 0, maxBytes: 1 << 20, top: 'no', items: [], ...asked };
    const [one, other] = [await plain.serve(encodeRequest(request)), await pressed.serve(encodeRequest(request))];
    expect(other.equals(one)).toBe(true);
    return decodeWhole(one, request);
  };
  const whole = await answer({ top: 'full' });
  await answer({ top: 'changed', since: 3 });
  if (!whole.ok || whole.value.type !== 'nodes' || pinned.top?.kind !== 'inner') throw new Error('not the whole');
  // Places of the tree, level by level as the answer tells them.
  const places: NodeRequest[] = [{ kind: 'inner', bits: pinned.top.nibbles * 4, prefix: pinned.top.prefix, full: true }];
  for (const [i, node] of whole.value.nodes.entries()) if (node.kind === 'inner') places.push(...toldChildren(places[i] as NodeRequest, node.slots).map((place) => ({ ...place, full: true })));
  expect(places.length).toBeGreaterThan(100);
  for (let round = 0; round < 30; round++) {
    const items = Array.from({ length: 1 + r.below(120) }, () => r.pick(places));
    await answer({ items: [...items, ...items.slice(0, r.below(4))], since: r.below(4), maxBytes: 2000 + r.below(100_000) });
  }
  const page = places.find(({ kind }) => kind === 'page') as NodeRequest;
  await answer({ items: [page, page, page] });
  for (const one of places.filter(({ kind }) => kind === 'page').slice(0, 30)) await answer({ items: [one, { ...one, full: false }], since: 3 });
  // Whatever was asked for, it was found at once.
  expect(level.settled).toBe(0);
});

/** What a donor whose replica has much to do asks for behind an answer, milliseconds, before and after seconds in each of which something changes. */
async function waitsWhile(change: (store: RecordStore, second: number) => void): Promise<{ first: number; last: number }> {
  let now = 1e6;
  vi.spyOn(performance, 'now').mockImplementation(() => (now += 0.01));
  onTestFinished(() => { vi.restoreAllMocks(); });
  const store = await openStore({ directory: temporaryDirectory(), pace: { bytesPerSecond: 0, othersMs: () => now / 2 } });
  putRecords(store, 0, 2000, 'old');
  const { op, root } = await store.take(opNumber(1), EMPTY);
  const request: TransferRequest = { op, root, since: 0, maxBytes: 1 << 20, top: 'full', items: [] };
  const waits: number[] = [];
  for (let second = 1; second <= 12; second++) {
    change(store, second);
    await store.take(opNumber(1 + second), EMPTY);
    for (const type of ['nodes', 'wait'] as const) {
      const answer = decodeWhole(await store.serve(encodeRequest(request)), request);
      if (!answer.ok || answer.value.type !== type) throw new Error(`not ${type}`);
      if (answer.value.type === 'wait') waits.push(answer.value.milliseconds);
    }
    now += 1000;
  }
  // How busy the replica is shows from the second on.
  return { first: waits[1] as number, last: waits.at(-1) as number };
}

function putRecords(store: RecordStore, from: number, to: number, value: string): void {
  for (let at = from; at < to; at++) store.put(Buffer.from(`k${at}`), Buffer.from(value));
}

test('a donor gives more when as much is added as it gives', async () => {
  const { first, last } = await waitsWhile((store, second) => { putRecords(store, second * 2000, second * 2000 + 1500, 'new'); });
  expect(last).toBeLessThan(first / 2);
});

test('and no more when it gives much more than that', async () => {
  const { first, last } = await waitsWhile((store, second) => { putRecords(store, second * 2000, second * 2000 + 500, 'new'); });
  expect(last).toBeGreaterThan(first / 2);
});

test('nor when the same records change again and again, which have to be given once', async () => {
  const { first, last } = await waitsWhile((store, second) => { putRecords(store, 0, 2000, `new ${second}`); });
  expect(last).toBeGreaterThan(first / 2);
});

test('nor for what goes', async () => {
  const { first, last } = await waitsWhile((store, second) => {
    putRecords(store, second * 2000, second * 2000 + 500, 'new');
    for (let at = 0; at < 1500; at++) store.delete(Buffer.from(`k${second === 1 ? at : (second - 1) * 2000 + at}`));
  });
  expect(last).toBeGreaterThan(first / 2);
});
