/**
 * What is on disk to stay before anybody hears of it: each write is followed by a sync of its file (or goes through a descriptor that syncs), each new name by one of its directory.
 * A kill takes nothing that the kernel has, so that no other test would miss a sync that is gone.
 */
import { constants, type PathLike } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { basename } from 'node:path';
import { ClassicLevel } from 'classic-level';
import { beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { RecordStore } from '../../checkpoint/record_store.ts';
import { opNumber, epoch, memberId, view } from '../../lib/ids.ts';
import { ZERO_DIGEST } from '../../lib/hash.ts';
import { DATA_FORMAT, DATA_VERSION, writeVersion } from '../../server/data_directory.ts';
import { SegmentFiles, segmentName } from '../../server/segment_files.ts';
import { formatSuperblock, SuperblockFile } from '../../server/superblock_file.ts';
import { configuration } from '../../vr/configuration.ts';
import type { Superblock } from '../../vr/superblock.ts';
import { temporaryDirectory, until } from './support.ts';

const done = vi.hoisted((): string[] => []);

vi.mock('node:fs/promises', async (original) => {
  const real = await original<typeof import('node:fs/promises')>();
  const record = (what: string, path: PathLike): void => { done.push(`${what} ${basename(String(path))}`); };
  return {
    ...real,
    open: async (path: PathLike, flags?: string | number, mode?: number) => {
      const handle = await real.open(path, flags, mode);
      const syncs = typeof flags === 'number' && (flags & constants.O_DSYNC) === constants.O_DSYNC;
      const { write, writeFile, sync } = handle;
      handle.write = (async (...args: Parameters<FileHandle['write']>) => {
        const result = await write.apply(handle, args);
        record(syncs ? 'write and sync' : 'write', path);
        return result;
      }) as FileHandle['write'];
      handle.writeFile = async (...args) => { await writeFile.apply(handle, args); record('write', path); };
      handle.sync = async () => { await sync.apply(handle); record('sync', path); };
      return handle;
    },
    rename: async (from: PathLike, to: PathLike) => { await real.rename(from, to); record('rename', to); },
  };
});

beforeEach(() => { done.length = 0; });

const MEMBER = { id: memberId(1), role: 'voter' as const, address: '127.0.0.1:7101', httpAddress: '127.0.0.1:7201' };
const SUPERBLOCK: Superblock = {
  clusterId: Buffer.alloc(16, 1), memberId: memberId(1), configuration: configuration(epoch(0), [MEMBER], 'disk'), incarnation: 0, view: view(0), promisedView: view(0), logView: view(0),
  instance: Buffer.alloc(16, 2), epochStart: null, heldByAll: opNumber(0), leaseMs: 0, checkpoint: { op: opNumber(0), root: ZERO_DIGEST, entryHash: ZERO_DIGEST, view: view(0), time: 0 }, retired: false,
};
/** Every write of `name` is durable before the next thing happens. */
const BOTH_COPIES = ['write superblock-a', 'sync superblock-a', 'write superblock-b', 'sync superblock-b'];

describe('durable before anybody hears of it', () => {
  it('the superblock: one copy before the other is touched, and both names', async () => {
    const directory = await temporaryDirectory();
    await formatSuperblock(directory, SUPERBLOCK);
    expect(done).toEqual([...BOTH_COPIES, `sync ${basename(directory)}`]);
    done.length = 0;
    const failures: Error[] = [];
    const file = new SuperblockFile({ directory, sequence: 1, onDurable: (ticket) => { done.push(`durable ${ticket}`); }, fatal: (error) => { failures.push(error); } });
    file.write({ ...SUPERBLOCK, promisedView: view(1) });
    await until(() => done.includes('durable 1'), 'a durable superblock');
    file.write({ ...SUPERBLOCK, promisedView: view(2) });
    await file.close();
    expect(failures).toEqual([]);
    // Each copy once for each of the two, in whatever order; each synced before anything else happens, and before its ticket.
    expect(done.filter((what) => what.startsWith('write')).length).toBe(4);
    done.forEach((what, i) => { if (what.startsWith('write ')) expect(done[i + 1]).toBe(what.replace('write', 'sync')); });
    expect(done.filter((what) => what.startsWith('durable'))).toEqual(['durable 1', 'durable 2']);
    expect(done.indexOf('durable 1')).toBeGreaterThan(1);
  });

  it('VERSION, and its name', async () => {
    const directory = await temporaryDirectory();
    await writeVersion(directory, { format: DATA_FORMAT, version: DATA_VERSION, clusterId: '00'.repeat(16), memberId: memberId(1) });
    expect(done).toEqual(['write VERSION', 'sync VERSION', `sync ${basename(directory)}`]);
  });

  it('a segment: its zeros, its header and its name; what is written to it later at once', async () => {
    const directory = await temporaryDirectory();
    const files = new SegmentFiles(directory, 1 << 16);
    const handle = await files.activate(1, Buffer.alloc(4096, 1));
    expect(done).toEqual(['write preparing.journal', 'sync preparing.journal', 'rename spare.journal', 'write and sync spare.journal', `rename ${segmentName(1)}`, `sync ${basename(directory)}`]);
    done.length = 0;
    // The journal's own writes go through this descriptor.
    await handle.write(Buffer.alloc(512), 0, 512, 4096);
    await handle.close();
    await files.seal(1);
    expect(done).toEqual(['write and sync spare.journal', `write and sync ${segmentName(1)}`]);
  });

  it('a checkpoint: what goes into LevelDB at all asks for a sync', async () => {
    const asked: unknown[] = [];
    const make = Reflect.get(ClassicLevel.prototype, 'batch') as () => { write: (options?: object) => Promise<void> };
    const batches = vi.spyOn(ClassicLevel.prototype as unknown as { batch: typeof make }, 'batch').mockImplementation(function (this: unknown) {
      const batch = make.call(this);
      const write = batch.write.bind(batch);
      batch.write = (options) => { asked.push(options); return write(options); };
      return batch;
    });
    onTestFinished(() => { batches.mockRestore(); });
    const store = await RecordStore.open({ directory: await temporaryDirectory() });
    for (const op of [1, 2]) {
      store.put(Buffer.from([op]), Buffer.from('value'));
      await store.take(opNumber(op), Buffer.alloc(0));
    }
    await store.close();
    expect(asked.length).toBeGreaterThan(1);
    expect(asked.filter((options) => (options as { sync?: boolean } | undefined)?.sync !== true)).toEqual([]);
  });
});
