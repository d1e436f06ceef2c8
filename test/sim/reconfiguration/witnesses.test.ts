/** PROTOCOL section 3, row 21: what a witness's superblock and log stand for. */
import { describe, expect, it } from 'vitest';
import { Scenario } from '../scenario.ts';
import { changed, changes, memberOf, settles } from './support.ts';

const SHORT_LOG = { checkpointOps: 5, retainEntries: 0, retainBytes: 0 } as const;

describe('a voter that becomes a witness', () => {
  it('while it writes a checkpoint: what its superblock names does not go back', () => {
    const s = Scenario.settled({ replica: SHORT_LOG });
    s.host(2).syncMs = [300, 0];
    for (let n = 1; n <= 8; n++) s.write(n % 6, n);
    s.until('it writes a checkpoint', () => s.status(2).checkpointing);
    changes(s, { ...changed(s, [], [memberOf(s.host(2), 'witness')]), force: true });
    for (let n = 1; n <= 12; n++) s.write(n % 6, n);
    s.run(8000);
    settles(s);
    expect(s.status(2).checkpoint.op).toBeGreaterThanOrEqual(15);
  });
});
