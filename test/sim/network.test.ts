import { describe, expect, it } from 'vitest';
import { opNumber, view } from '../../lib/ids.ts';
import { Prng } from '../../lib/prng.ts';
import type { Message } from '../../vr/messages.ts';
import { Coverage } from './coverage.ts';
import { EventQueue } from './event_queue.ts';
import { SimulatedNetwork } from './network.ts';
import { CALM_NETWORK, SeededPolicy, type NetworkFaults } from './seeded_policy.ts';
import { Trace } from './trace.ts';

const MESSAGE: Message = { type: 'prepareOk', view: view(3), op: opNumber(7), round: 2, leaseMs: 0, stamp: 0 };

function harness(faults: Partial<NetworkFaults>): { queue: EventQueue; network: SimulatedNetwork; policy: SeededPolicy; arrived: { at: number; op: number }[]; coverage: Coverage } {
  const queue = new EventQueue();
  const coverage = new Coverage();
  const policy = new SeededPolicy(new Prng(3), () => queue.now, coverage);
  policy.faults = { ...CALM_NETWORK, ...faults };
  const arrived: { at: number; op: number }[] = [];
  const network = new SimulatedNetwork(queue, policy, {
    deliver: (_to, _from, _label, m) => { if (m.type === 'prepareOk') arrived.push({ at: queue.now, op: m.op }); },
  }, new Trace(() => queue.now, null), coverage);
  return { queue, network, policy, arrived, coverage };
}

describe('the simulated network', () => {
  it('delivers a decoded copy', () => {
    const { queue, network, arrived } = harness({});
    network.send(0, [1], 1, MESSAGE);
    queue.runTo(10);
    expect(arrived.map((a) => a.op)).toEqual([7]);
  });

  it('loses, repeats and replays late in about the given parts', () => {
    const { queue, network, arrived, coverage } = harness({ loss: 0.3, duplication: 0.5, lateReplay: 0.1 });
    for (let i = 0; i < 2000; i++) network.send(0, [1], 1, MESSAGE);
    queue.runTo(5000);
    expect(coverage.get('drops')).toBeGreaterThan(500);
    expect(coverage.get('drops')).toBeLessThan(700);
    expect(coverage.get('duplicates')).toBeGreaterThan(650);
    expect(arrived.length).toBe(2000 - coverage.get('drops') + coverage.get('duplicates'));
    expect(arrived.some((a) => a.at > 1000)).toBe(true);
  });

  it('lets messages overtake each other', () => {
    const { queue, network, arrived } = harness({ slow: 0.3, slowMs: 100 });
    for (let i = 1; i <= 100; i++) network.send(0, [1], 1, { ...MESSAGE, op: opNumber(i) });
    queue.runTo(1000);
    const ops = arrived.map((a) => a.op);
    expect(ops).not.toEqual([...ops].sort((a, b) => a - b));
  });

  it('delays the messages of a link, one more and one less, and no others, until a time', () => {
    const { queue, network, policy, arrived } = harness({});
    policy.delay(1, 0, 400, 50);
    for (let i = 1; i <= 50; i++) network.send(1, [0], 1, { ...MESSAGE, op: opNumber(i) });
    network.send(0, [1], 1, { ...MESSAGE, op: opNumber(51) });
    queue.runTo(45);
    const early = arrived.map((a) => a.op);
    expect(early).toContain(51);
    expect(early.length).toBeLessThan(25);
    queue.runTo(60);
    const before = arrived.length;
    network.send(1, [0], 1, { ...MESSAGE, op: opNumber(52) });
    queue.runTo(65);
    expect(arrived.slice(before).map((a) => a.op)).toContain(52);
    queue.runTo(500);
    expect(arrived).toHaveLength(52);
    const ops = arrived.map((a) => a.op);
    expect(ops).not.toEqual([...ops].sort((a, b) => a - b));
  });

  it('blocks one direction, clogs another, and heals', () => {
    const { queue, network, policy, arrived } = harness({});
    policy.block(0, 1);
    network.send(0, [1], 1, MESSAGE);
    network.send(1, [0], 1, { ...MESSAGE, op: opNumber(8) });
    queue.runTo(100);
    expect(arrived.map((a) => a.op)).toEqual([8]);
    policy.heal();
    policy.clog(0, 1, 500);
    network.send(0, [1], 1, { ...MESSAGE, op: opNumber(9) });
    queue.runTo(400);
    expect(arrived).toHaveLength(1);
    queue.runTo(600);
    expect(arrived.map((a) => a.op)).toEqual([8, 9]);
    expect(arrived[1]?.at).toBeGreaterThanOrEqual(500);
  });
});
