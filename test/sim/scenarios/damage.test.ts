/** What a replica finds on its disk after a crash, beyond the rows of PROTOCOL section 3 (see rows/). */
import { describe, expect, it } from 'vitest';
import { SHORT_LOG, writes } from '../rows/support.ts';
import { Scenario } from '../scenario.ts';

describe('damage', () => {
  it('a journal that is damaged at its end is not taken for a torn write', () => {
    const s = Scenario.settled();
    writes(s, 10);
    s.isolate(0);
    s.crash(2, 'kept');
    s.host(2).damageJournal();
    s.restart(2);
    s.run(5000);
    // Alone with R1 it could only guess; it waits for a primary that knows.
    expect(s.status(2).status).toBe('recovering');
    s.heal();
    s.converged();
    for (let n = 6; n <= 10; n++) expect(s.read(n % 6)).toBe(n);
  });
});

describe('a checkpoint that is durable before the journal', () => {
  it('costs no failure: the replica goes on behind it, and says nothing before its incarnation is durable', () => {
    const s = Scenario.settled({ replica: SHORT_LOG });
    // R2's journal hangs in one sync, while its checkpoints get through.
    s.host(2).syncMs = [60_000, 0];
    s.write(0, 1);
    s.run(5);
    s.host(2).syncMs = [1, 0];
    writes(s, 20);
    s.until('the checkpoint is durable', () => (s.host(2).checkpointDisk.durable?.op ?? 0) > s.host(2).journalDisk.head);
    s.crash(2, 'lost');
    s.crash(1);
    s.host(2).superblockMs = [200, 0];
    s.restart(2);
    s.converged([0, 2]);
    expect(s.sent('recovery', { from: 2 })).toEqual([]);
    for (let n = 15; n <= 20; n++) expect(s.read(n % 6)).toBe(n);
  });
});
