/** What the tests of server/ share: directories that go away, waiting for a condition, chains of entries. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach } from 'vitest';
import { ZERO_DIGEST } from '../../lib/hash.ts';
import { epoch, memberId, opNumber, sessionId, view, type Digest } from '../../lib/ids.ts';
import { configuration, type Configuration, type Durability } from '../../vr/configuration.ts';
import { makeEntry, type Entry } from '../../vr/entry.ts';
import type { Superblock } from '../../vr/superblock.ts';

const directories: string[] = [];

/** A new directory, removed after the test. */
export async function temporaryDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'vrfs-test-'));
  directories.push(directory);
  return directory;
}

afterEach(async () => {
  for (const directory of directories.splice(0)) await rm(directory, { recursive: true, force: true });
});

/** Turns of the loop until `condition` holds; fails after `boundMs`. */
export async function until(condition: () => boolean, what: string, boundMs = 20_000): Promise<void> {
  const end = performance.now() + boundMs;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`not within ${boundMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

export const CLUSTER_ID = Buffer.from('00112233445566778899aabbccddeeff', 'hex');
export const IDENTITY = { clusterId: CLUSTER_ID, memberId: memberId(1) };
export const GENESIS = { certain: true, logView: view(0), headOp: opNumber(0), headHash: ZERO_DIGEST };
export const ORIGIN = { op: opNumber(0), entryHash: ZERO_DIGEST };

/** `count` entries behind `after`, each with a body of `bodyBytes`. */
export function chain(after: number, parent: Digest, count: number, v = 0, bodyBytes = 20): Entry[] {
  const entries: Entry[] = [];
  let hash = parent;
  for (let i = 1; i <= count; i++) {
    const entry = makeEntry({
      kind: 'request', epoch: epoch(0), view: view(v), op: opNumber(after + i), time: 1_000_000 + after + i,
      session: sessionId(1), slot: 0, seq: i, body: Buffer.alloc(bodyBytes, (after + i) & 0xff),
    }, hash);
    hash = entry.hash;
    entries.push(entry);
  }
  return entries;
}

export function groupOf(addresses: readonly string[], durability: Durability = 'disk'): Configuration {
  return configuration(epoch(0), addresses.map((address, i) => ({ id: memberId(i + 1), role: 'voter' as const, address, httpAddress: `127.0.0.1:${7201 + i}` })), durability);
}

export function superblock(incarnation: number, v = 0): Superblock {
  return {
    clusterId: CLUSTER_ID, memberId: memberId(1), configuration: groupOf(['127.0.0.1:7101', '127.0.0.1:7102', '127.0.0.1:7103']),
    incarnation, view: view(v), promisedView: view(v), logView: view(v), instance: Buffer.alloc(16), epochStart: null, heldByAll: opNumber(0), leaseMs: 0, retired: false,
    checkpoint: { op: opNumber(0), root: ZERO_DIGEST, entryHash: ZERO_DIGEST, view: view(0), time: 0 },
  };
}
