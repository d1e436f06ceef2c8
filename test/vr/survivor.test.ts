/** What a member that goes on alone begins with. */
import { describe, expect, it } from 'vitest';
import { epoch, memberId, opNumber, sessionId, view, viewEpoch, viewOf, type View } from '../../lib/ids.ts';
import { ZERO_DIGEST } from '../../lib/hash.ts';
import { configuration, type Member } from '../../vr/configuration.ts';
import { makeEntry, type Entry } from '../../vr/entry.ts';
import { beginningOf, encodeReconfigurationBody } from '../../vr/reconfiguration_body.ts';
import type { CheckpointId } from '../../vr/superblock.ts';
import { newestConfiguration, soleMemberEntry, survivorClusterId, survivorSuperblock, upToRemoval } from '../../vr/survivor.ts';

const member = (id: number, role: Member['role'] = 'voter'): Member => ({ id: memberId(id), role, address: `10.0.0.${id}:7101`, httpAddress: `10.0.0.${id}:7201` });
const three = configuration(epoch(0), [member(1), member(2), member(3)], 'disk');
const checkpoint: CheckpointId = { op: opNumber(20), root: ZERO_DIGEST, entryHash: ZERO_DIGEST, view: view(4), time: 1000 };

function behind(at: { op: number; hash: typeof ZERO_DIGEST }, inView: View, time: number, made: { kind: 'request' } | { kind: 'reconfiguration'; body: Buffer }): Entry {
  const body = made.kind === 'request' ? Buffer.from('x') : made.body;
  return makeEntry({ kind: made.kind, epoch: viewEpoch(inView), view: inView, op: opNumber(at.op + 1), time, session: sessionId(0), slot: 0, seq: 0, body }, at.hash);
}

describe('the entry that leaves one member', () => {
  it('continues the log, in the epoch that is, with a later time', () => {
    const request = behind({ op: 20, hash: ZERO_DIGEST }, view(7), 2000, { kind: 'request' });
    const change = soleMemberEntry(checkpoint, [request], three, member(2));
    expect(change).toMatchObject({ kind: 'reconfiguration', op: 22, parent: request.hash, epoch: 0, view: 7, time: 2001 });
    const { start, configuration: next } = beginningOf(change);
    expect(next).toMatchObject({ epoch: 1, members: [{ id: 2, role: 'voter' }], durability: 'disk' });
    expect(start).toMatchObject({ op: 22, entryHash: change.hash, view: viewOf(epoch(1), 0), previous: three, held: 20 });
  });

  it('continues the checkpoint where there is nothing behind it, and gives an observer the vote', () => {
    const change = soleMemberEntry(checkpoint, [], three, member(3, 'observer'));
    expect(change).toMatchObject({ op: 21, parent: ZERO_DIGEST, view: 4, time: 1001 });
    expect(beginningOf(change).configuration.members).toEqual([member(3)]);
  });

  it('comes behind a change of the members that the log has', () => {
    const four = configuration(epoch(1), [member(1), member(2), member(4)], 'disk');
    const entries = [behind({ op: 20, hash: ZERO_DIGEST }, view(4), 2000, { kind: 'reconfiguration', body: encodeReconfigurationBody({ previous: three, next: four, held: opNumber(0) }) })];
    const present = newestConfiguration([three, three], entries);
    expect(present).toEqual(four);
    const change = soleMemberEntry(checkpoint, entries, present, member(4));
    // Views do not fall along the log.
    expect(change).toMatchObject({ op: 22, epoch: 1, view: viewOf(epoch(1), 0) });
    expect(beginningOf(change)).toMatchObject({ configuration: { epoch: 2, members: [{ id: 4 }] }, start: { previous: four } });
  });
});

describe('a log that ends with the removal of the member', () => {
  it('is followed up to there: it may never have been committed', () => {
    const others = configuration(epoch(1), [member(1), member(3)], 'disk');
    const request = behind({ op: 20, hash: ZERO_DIGEST }, view(4), 2000, { kind: 'request' });
    const removal = behind(request, view(4), 2001, { kind: 'reconfiguration', body: encodeReconfigurationBody({ previous: three, next: others, held: opNumber(0) }) });
    expect(upToRemoval([request, removal], memberId(2))).toEqual([request]);
    expect(upToRemoval([request, removal], memberId(3))).toEqual([request, removal]);
    expect(upToRemoval([], memberId(2))).toEqual([]);
  });
});

describe('the group of one', () => {
  it('is another than any other, also than one from a copy of the same directory', () => {
    const old = Buffer.alloc(16, 1);
    const idOf = (id: number, entries: readonly Entry[] = [], instance = 5): string => survivorClusterId(old, soleMemberEntry(checkpoint, entries, three, member(id)), Buffer.alloc(16, instance)).toString('hex');
    expect(idOf(1)).not.toBe(idOf(1, [], 6));
    const more = [behind({ op: 20, hash: ZERO_DIGEST }, view(4), 2000, { kind: 'request' })];
    expect(new Set([idOf(1), idOf(2), idOf(1, more), old.toString('hex')]).size).toBe(4);
    expect(idOf(1)).toHaveLength(32);
  });

  it('begins with its log as one that has run, or as a new one where the state has the change', () => {
    const change = soleMemberEntry(checkpoint, [], three, member(1));
    const identity = { clusterId: Buffer.alloc(16, 2), memberId: memberId(1), instance: Buffer.alloc(16, 3) };
    const common = { configuration: { epoch: 1 }, view: viewOf(epoch(1), 0), promisedView: viewOf(epoch(1), 0), logView: viewOf(epoch(1), 0), retired: false, epochStart: { op: 21 } };
    expect(survivorSuperblock(identity, checkpoint, beginningOf(change))).toMatchObject({ ...identity, ...common, incarnation: 1, checkpoint });
    const at = { ...checkpoint, op: opNumber(21), entryHash: change.hash };
    expect(survivorSuperblock(identity, at, beginningOf(change))).toMatchObject({ ...common, incarnation: 0, checkpoint: at });
  });
});
