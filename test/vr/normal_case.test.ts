import { describe, expect, test } from 'vitest';
import { Cluster } from './cluster.ts';
import { TestClient } from './test_client.ts';

describe('the normal case (VRR 4.1)', () => {
  test('a request is executed on every replica and answered once a quorum has it', () => {
    const cluster = new Cluster();
    const client = new TestClient(cluster).register();
    expect(client.session).toBe(1);
    expect(client.write('a').result.toString()).toBe('2:a');
    cluster.untilConverged();
    for (const n of cluster.nodes) expect(n.application.executed.map((e) => e.body.toString())).toEqual(['a']);
  });
});
