/** Disks that fail under a running group, and the power that goes: what was acknowledged is there afterwards. */
import { writev, writeSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import type { VrfsClient } from '../../client/client.ts';
import { FileSystem } from '../../client/file_system.ts';
import { defined } from '../../lib/assert.ts';
import { Prng } from '../../lib/prng.ts';
import type { WriteVector } from '../../server/journal.ts';
import { PAGE_BYTES } from '../../server/journal_format.ts';
import { TestGroup } from './group.ts';
import { until } from './support.ts';

async function converged(group: TestGroup): Promise<void> {
  await until(() => {
    const all = group.running.filter((r) => r !== null);
    return new Set(all.map((r) => r.status().replica.executed)).size === 1 && all.every((r) => r.health().ok);
  }, 'all replicas are healthy and have executed the same');
}

/** Writes files until something is false; what was acknowledged. */
async function writeWhile(fs: FileSystem, prefix: string, goOn: () => boolean, bytes: number): Promise<string[]> {
  const acknowledged: string[] = [];
  await Promise.all(Array.from({ length: 8 }, async (_, w) => {
    for (let i = 0; goOn(); i++) {
      const name = `/${prefix}-${w}-${i}`;
      if (await acknowledges(fs.writeFile(name, Buffer.alloc(bytes, name)))) acknowledged.push(name);
      else return;
    }
  }));
  return acknowledged;
}

/** False: it failed, or nobody answered; then it may have happened or not. */
async function acknowledges(work: Promise<void>): Promise<boolean> {
  try {
    await work;
    return true;
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    return false;
  }
}

async function expectAll(fs: FileSystem, names: readonly string[], bytes: number): Promise<void> {
  for (let i = 0; i < names.length; i += 32) {
    await Promise.all(names.slice(i, i + 32).map(async (name) => { expect((await fs.readFile(name)).equals(Buffer.alloc(bytes, name)), name).toBe(true); }));
  }
}

class PowerCut extends Error {
  override readonly name = 'PowerCut';
}

/**
 * The power of a machine. When it goes, of each write that is under way any pages may have reached the disk, and the last one of
 * them in part; of what comes after it nothing does.
 */
class Power {
  readonly #random: Prng;
  on = true;
  torn = 0;
  writes = 0;

  constructor(seed: number) {
    this.#random = new Prng(seed);
  }

  readonly writev: WriteVector = (fd, buffers, position, done) => {
    this.writes++;
    // A disk takes its time: some turns of the loop, in which the power may go.
    let turns = 1 + this.#random.below(30);
    const turn = (): void => {
      if (!this.on) {
        this.#tear(fd, Buffer.concat(buffers.map((b) => Buffer.from(b.buffer, b.byteOffset, b.byteLength))), position);
        done(new PowerCut('the power is gone'), 0);
      } else if (--turns > 0) {
        setImmediate(turn);
      } else {
        writev(fd, buffers as NodeJS.ArrayBufferView[], position, (error, written) => {
          // It was written, but the power went before anybody was told.
          if (this.on || error !== null) done(error, written);
          else done(new PowerCut('the power is gone'), 0);
        });
      }
    };
    setImmediate(turn);
  };

  readonly writeCopy = async (path: string, bytes: Buffer): Promise<void> => {
    if (!this.on) throw new PowerCut('the power is gone');
    const handle = await open(path, 'r+');
    try {
      await handle.write(bytes, 0, bytes.length, 0);
      await handle.sync();
    } finally {
      await handle.close();
    }
    if (!this.on) throw new PowerCut('the power is gone');
  };

  #tear(fd: number, bytes: Buffer, position: number): void {
    this.torn++;
    for (let page = 0; page < bytes.length; page += PAGE_BYTES) {
      if (this.#random.chance(0.4)) continue;
      const length = this.#random.chance(0.2) ? 512 * this.#random.below(9) : PAGE_BYTES;
      writeSync(fd, bytes, page, Math.min(length, bytes.length - page), position + page);
    }
  }
}

describe('the power of all three machines goes at once', () => {
  it('again and again, in the midst of writes, with torn tails: nothing acknowledged is lost', async () => {
    const group = await TestGroup.make({ flags: { checkpointOps: 40, retainEntries: 20, journalSegmentBytes: 32 * PAGE_BYTES } });
    const random = new Prng(11);
    const bytes = 3000;
    const all: string[] = [];
    let torn = 0;
    for (let round = 0; round < 6; round++) {
      const powers = [1, 2, 3].map((id) => new Power(100 * round + id));
      for (const [i, power] of powers.entries()) await group.start(i + 1, {}, power);
      const client: VrfsClient = await group.client();
      const fs = new FileSystem(client);
      await expectAll(fs, all.slice(-200), bytes);
      const written = (): number => powers.reduce((sum, p) => sum + p.writes, 0);
      const enough = 30 + random.below(200);
      const acknowledged = await writeWhile(fs, `round-${round}`, () => {
        if (written() < enough) return true;
        for (const power of powers) power.on = false;
        void client.close();
        return false;
      }, bytes);
      expect(acknowledged.length, `round ${round}`).toBeGreaterThan(0);
      all.push(...acknowledged);
      for (const id of [1, 2, 3]) await group.stopOne(id);
      torn += powers.reduce((sum, p) => sum + p.torn, 0);
      expect(group.fatal.every((error) => error.cause instanceof PowerCut), group.fatal.map((e) => e.message).join()).toBe(true);
      group.fatal.length = 0;
    }
    expect(torn).toBeGreaterThan(2);
    await group.startAll();
    const fs = new FileSystem(await group.client());
    await expectAll(fs, all, bytes);
    await converged(group);
  });
});

describe('a disk that fails under one replica', () => {
  for (const [code, text] of [['EIO', 'EIO: i/o error, fdatasync'], ['ENOSPC', 'ENOSPC: no space left on device, write']] as const) {
    it(`${code} of the journal, at any write: the replica stops with a message, the others go on, and it comes back`, async () => {
      const group = await TestGroup.make({ flags: { checkpointOps: 50 } });
      await group.startAll();
      const fs = new FileSystem(await group.client());
      const names: string[] = [];
      for (let n = 1; n <= 5; n++) {
        const id = (n % 3) + 1;
        await group.stopOne(id);
        let left = n * n;
        let after = 0;
        await group.start(id, {}, {
          writev: (fd, buffers, position, done) => {
            if (--left > 0) writev(fd, buffers as NodeJS.ArrayBufferView[], position, done);
            else {
              after++;
              setImmediate(() => { done(Object.assign(new Error(text), { code }), 0); });
            }
          },
        });
        names.push(...await writeWhile(fs, `try-${n}`, () => group.fatal.length === 0, 500));
        await until(() => group.fatal.length === 1, 'the replica has stopped');
        expect(defined(group.fatal[0], 'error').message).toBe(`the journal in ${group.data(id)}/journal could not be written: ${text}. A failed write is not repeated: make room or check the disk, then start the replica again`);
        expect(after, 'never repeated').toBe(1);
        expect(group.replica(id).health()).toMatchObject({ ok: false });
        group.fatal.length = 0;
        await group.stopOne(id);
        expect(after, 'nothing is written after it').toBe(1);
        await group.start(id);
        await converged(group);
        expect(group.replica(id).status().recovery.bootLogIntact).toBe(true);
      }
      await expectAll(fs, names, 500);
    });
  }

  it('the superblock, at any write of any copy: the same', async () => {
    const group = await TestGroup.make({ flags: { checkpointOps: 20 } });
    await group.startAll();
    const fs = new FileSystem(await group.client());
    const names: string[] = [];
    for (let n = 1; n <= 5; n++) {
      await group.stopOne(2);
      const real = new Power(n);
      let left = n;
      await group.start(2, {}, {
        writeCopy: (path, bytes) => (--left > 0 ? real.writeCopy(path, bytes) : Promise.reject(new Error('EIO: i/o error, fsync'))),
      });
      names.push(...await writeWhile(fs, `try-${n}`, () => group.fatal.length === 0, 500));
      await until(() => group.fatal.length === 1, 'the replica has stopped');
      expect(defined(group.fatal[0], 'error').message).toMatch(/^the superblock in .* could not be written: EIO: i\/o error, fsync\. A failed write is not repeated: make room or check the disk, then start the replica again$/);
      group.fatal.length = 0;
      await group.stopOne(2);
      await group.start(2);
      await converged(group);
    }
    await expectAll(fs, names, 500);
  });
});
