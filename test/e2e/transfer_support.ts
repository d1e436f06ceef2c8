/** Shared by the tests of transfers between real processes. */
import { expect, onTestFinished } from 'vitest';
import { VrfsClient } from '../../client/client.ts';
import { FileSystem } from '../../client/file_system.ts';
import type { Durability } from '../../vr/configuration.ts';
import { ProcessGroup, until, type StatusAnswer } from '../support/process_group.ts';

export const ALL: readonly number[] = [0, 1, 2];
export const BOUND_MS = 120_000;

/** Three processes that take a checkpoint every 500 operations and keep little log behind it, unless the configuration says otherwise. */
export async function makeGroup(durability: Durability, config: Readonly<Record<string, number>> = {}): Promise<{ group: ProcessGroup; fs: FileSystem }> {
  const group = await ProcessGroup.create({ durability, config: { checkpointOps: 500, retainEntries: 200, ...config } });
  onTestFinished(() => group.destroy());
  group.startAll();
  await group.normal(ALL);
  const client = await VrfsClient.connect({ servers: group.servers, name: 'transfer test', requestTimeoutMs: 60_000 });
  onTestFinished(() => client.close());
  return { group, fs: new FileSystem(client) };
}

export async function caughtUp(group: ProcessGroup, index: number): Promise<StatusAnswer> {
  return until(`replica ${index + 1} has caught up`, BOUND_MS, async () => {
    // The primary first: asked after it, a replica that is up to date has executed what the primary had committed, however fast others write.
    const primary = await group.status(await group.primary());
    const own = await group.status(index);
    return own?.status === 'normal' && own.recovery.transfer === null && primary !== undefined && own.executed >= primary.commit ? own : undefined;
  });
}

/** The replica keeps its log for nobody who takes a checkpoint over, or did so a moment ago. */
export async function keepsNoLog(group: ProcessGroup, index: number): Promise<boolean> {
  const text = await (await fetch(`${group.http(index)}/metrics`)).text();
  const events = (name: string): number => Number(new RegExp(`\nvrfs_events_total\\{event="${name}"\\} (\\d+)\n`).exec(text)?.[1] ?? 0);
  return events('keeps-log') === events('keeps-log-no-more');
}

/** At a checkpoint that each of them takes by itself from now on all have the same root; so has `another`. */
export async function equalRoots(group: ProcessGroup, fs: FileSystem, another?: () => Promise<StatusAnswer | undefined>): Promise<void> {
  const from = Math.max(...(await Promise.all(ALL.map((i) => group.status(i)))).map((s) => s?.op ?? 0));
  let n = 0;
  await until('equal checkpoints', BOUND_MS, async () => {
    for (let i = 0; i < 20; i++) await fs.writeFile('/tick', String(n++));
    const all = await Promise.all([...ALL.map((i) => group.status(i)), ...(another === undefined ? [] : [another()])]);
    const ops = new Set(all.map((s) => s?.checkpoint.op));
    if (ops.size !== 1 || all.some((s) => s === undefined || s.checkpoint.op <= from)) return undefined;
    expect(new Set(all.map((s) => s?.checkpoint.root)).size, 'one root at one op').toBe(1);
    return true;
  });
}

