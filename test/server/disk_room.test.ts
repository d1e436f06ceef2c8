/** Disks that become full while a checkpoint is due: it waits, everything is kept, and who looks is told. */
import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { FileSystem } from '../../client/file_system.ts';
import { defined } from '../../lib/assert.ts';
import { DiskRoom, type FileSystemRoom } from '../../server/disk_room.ts';
import { WaitEnded } from '../../server/wait.ts';
import { TestGroup } from './group.ts';
import { until } from './support.ts';

const MIB = 1 << 20;
const RESERVE = 8 * MIB;

interface Line { readonly level: number; readonly msg: string }

function room(free: number, size = 1024 * MIB): { room: DiskRoom; disk: { free: number; size: number; error: Error | null }; cramped: boolean[]; lines: Line[] } {
  const disk = { free, size, error: null as Error | null };
  const cramped: boolean[] = [];
  const lines: Line[] = [];
  const log = pino({ level: 'info', base: null }, { write: (line: string) => { lines.push(JSON.parse(line) as Line); } });
  const look = (): Promise<FileSystemRoom> => (disk.error === null ? Promise.resolve({ ...disk }) : Promise.reject(disk.error));
  const made = new DiskRoom({ directory: '/data', reserveBytes: RESERVE, log, onCramped: (is) => { cramped.push(is); }, look, pollMs: 1 });
  return { room: made, disk, cramped, lines };
}

describe('room on the disk', () => {
  it('is there: nothing waits', async () => {
    const { room: r, lines } = room(RESERVE + 2000);
    await r.need(1000);
    expect([r.waiting, r.waits, lines.length]).toEqual([null, 0, 0]);
  });

  it('is awaited, twice what is written and the reserve; said once in the log, and again when it is there', async () => {
    const { room: r, disk, cramped, lines } = room(RESERVE + 1999);
    let done = false;
    const waiting = r.need(1000).then(() => { done = true; });
    await until(() => r.waiting !== null, 'it waits');
    expect(r.waiting).toMatchObject({ neededBytes: RESERVE + 2000, freeBytes: RESERVE + 1999 });
    disk.free = RESERVE + 1;
    await until(() => r.waiting?.freeBytes === RESERVE + 1, 'it looked again');
    expect(done).toBe(false);
    disk.free = RESERVE + 2000;
    await waiting;
    expect([r.waiting, r.waits]).toEqual([null, 1]);
    // The journal had room all the time.
    expect(cramped).toEqual([]);
    expect(lines.map(({ level }) => level)).toEqual([50, 30]);
    expect(lines[0]?.msg).toMatch(/a checkpoint waits for room on the disk of \/data: 8390608 bytes are needed \(with the reserve\), 8390607 are free.*Make room/);
  });

  it('is hardly there for the journal either: that is told, and taken back', async () => {
    const { room: r, disk, cramped } = room(RESERVE);
    const waiting = r.need(1000);
    await until(() => r.waiting !== null, 'it waits');
    disk.free = RESERVE / 2 - 1;
    await until(() => cramped.length === 1, 'cramped');
    disk.free = RESERVE / 2;
    await until(() => cramped.length === 2, 'not any more');
    disk.free = 0;
    await until(() => cramped.length === 3, 'again');
    disk.free = 1024 * MIB;
    await waiting;
    expect(cramped).toEqual([true, false, true, false]);
  });

  it('of a small disk: the reserve is a tenth of it', async () => {
    const { room: r } = room(MIB + 2000, 10 * MIB);
    await r.need(1000);
    expect(r.waits).toBe(0);
  });

  it('is awaited no longer when the replica is stopped, before and after', async () => {
    const { room: r, cramped } = room(0);
    const waiting = r.need(1);
    await until(() => r.waiting !== null, 'it waits');
    r.close();
    await expect(waiting).rejects.toThrow(WaitEnded);
    await expect(r.need(1)).rejects.toThrow(WaitEnded);
    expect([r.waiting, cramped.at(-1)]).toEqual([null, false]);
  });

  it('cannot be looked at: an error, at once or while it is awaited', async () => {
    const { room: r, disk } = room(0);
    const waiting = r.need(1);
    await until(() => r.waiting !== null, 'it waits');
    disk.error = new Error('EIO: i/o error, statfs');
    await expect(waiting).rejects.toThrow('EIO');
    await expect(r.need(1)).rejects.toThrow('EIO');
    expect(r.waiting).toBeNull();
  });

  it('of a real file system', async () => {
    const lines: Line[] = [];
    const log = pino({ level: 'info' }, { write: (line: string) => { lines.push(JSON.parse(line) as Line); } });
    const r = new DiskRoom({ directory: '/', reserveBytes: 0, log, onCramped: () => undefined, pollMs: 1 });
    const waiting = r.need(2 ** 52);
    await until(() => r.waiting !== null, 'nobody has so much');
    expect(defined(r.waiting ?? undefined, 'what waits').freeBytes).toBeGreaterThan(0);
    r.close();
    await expect(waiting).rejects.toThrow(WaitEnded);
  });
});

describe('a group', () => {
  const flags = { checkpointOps: 50, retainEntries: 20, maxLogEntries: 1000, reserveBytes: RESERVE };
  const full = { free: RESERVE, size: 1024 * MIB };
  const empty = { free: 512 * MIB, size: 1024 * MIB };
  /** Not more than 50 at a time: what one Prepare carries goes into the log as a whole. */
  const writeFiles = async (fs: FileSystem, from: number, count: number): Promise<void> => {
    for (let i = from; i < from + count; i += 50) await Promise.all(Array.from({ length: 50 }, (_, k) => fs.writeFile(`/file-${i + k}`, `content of ${i + k}`)));
  };

  it('one of whose disks is full goes on; that replica keeps its last checkpoint, says so, and has it all when there is room', async () => {
    const group = await TestGroup.make({ flags });
    let disk = empty;
    await group.start(1);
    await group.start(2);
    await group.start(3, {}, { look: () => Promise.resolve(disk) });
    const fs = new FileSystem(await group.client());
    await writeFiles(fs, 0, 200);
    // Its own, or one that it was given if it came late.
    await until(() => group.replica(3).status().replica.checkpoint.op > 0, 'a checkpoint');
    disk = full;
    await writeFiles(fs, 200, 200);
    await until(() => group.replica(3).status().store.waitingForRoom !== null, 'the next waits');
    const { op } = group.replica(3).status().replica.checkpoint;
    await writeFiles(fs, 400, 1500);
    const status = group.replica(3).status();
    expect(status.replica.checkpoint.op).toBe(op);
    expect(status.replica.op - op).toBeLessThanOrEqual(1000 + 200);
    expect(group.replica(1).status().replica.op).toBeGreaterThan(op + 1500);
    expect(status.store).toMatchObject({ roomWaits: 1, waitingForRoom: { freeBytes: RESERVE } });
    disk = empty;
    await until(() => {
      const [one, three] = [group.replica(1).status().replica, group.replica(3).status().replica];
      return three.executed === one.executed && three.checkpoint.op > op && group.replica(3).status().store.waitingForRoom === null;
    }, 'it has caught up');
    expect(group.replica(3).health().ok).toBe(true);
  });

  it('all of whose disks are full slows its clients down, answers reads, and loses nothing; also when it is stopped then', async () => {
    const group = await TestGroup.make({ flags });
    let disk = empty;
    const look = (): Promise<FileSystemRoom> => Promise.resolve(disk);
    for (const id of [1, 2, 3]) await group.start(id, {}, { look });
    const fs = new FileSystem(await group.client());
    await writeFiles(fs, 0, 100);
    disk = { free: RESERVE / 4, size: 1024 * MIB };
    // Until it takes nothing more: each write waits for the answer to the one before.
    let acknowledged = 0;
    const writing = (async () => {
      for (let i = 100; i < 400; i++) {
        await fs.writeFile(`/file-${i}`, `content of ${i}`);
        acknowledged = i + 1;
      }
    })();
    // A third may have left this checkpoint out, since its last was not written yet; it is no quorum.
    const cramped = (): number[] => [1, 2, 3].filter((id) => group.replica(id).status().replica.cramped);
    await until(() => cramped().length >= 2, 'a majority waits');
    expect(group.replica(defined(cramped()[0], 'one that waits')).health()).toMatchObject({ ok: false, reason: expect.stringMatching(/the disk is full: a checkpoint waits for \d+ more bytes.*Make room/) as string });
    const before = acknowledged;
    expect(before).toBeLessThan(400);
    expect((await fs.readFile('/file-0')).toString()).toBe('content of 0');
    // Stopped and started as it is.
    for (const id of [1, 2, 3]) await group.stopOne(id);
    for (const id of [1, 2, 3]) await group.start(id, {}, { look });
    disk = empty;
    await writing;
    for (let i = 0; i < 400; i += 7) expect((await fs.readFile(`/file-${i}`)).toString()).toBe(`content of ${i}`);
    await until(() => [1, 2, 3].every((id) => group.replica(id).status().store.waitingForRoom === null && group.replica(id).health().ok), 'all are well');
  });
});
