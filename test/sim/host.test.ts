import { expect, it } from 'vitest';
import { Scenario } from './scenario.ts';

// Seed 10582: what a slow process was told late of a disk without room undid what it was told since, and it waited for ever.
it('a process that gets late to what its disk tells meets the disk as it is then', () => {
  const s = Scenario.settled();
  const host = s.host(2);
  host.lagMs = 50;
  host.setCramped(true);
  host.lagMs = 0;
  host.setCramped(false);
  s.run(100);
  expect(host.status.cramped).toBe(false);
  host.setCramped(true);
  expect(host.status.cramped).toBe(true);
});
