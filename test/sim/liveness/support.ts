/** What the liveness scenarios measure: how long a client waits while something is wrong, and how often views change meanwhile. */
import { expect } from 'vitest';
import type { Scenario } from '../scenario.ts';

export interface Progress {
  /** Operations that were answered. */
  readonly writes: number;
  /** The longest that any of them took, milliseconds. */
  readonly longest: number;
  /** Views that began meanwhile, whether or not anybody became normal in them. */
  readonly views: number;
}

function highestView(s: Scenario): number {
  return Math.max(...s.cluster.hosts.filter((h) => h.running).map((h) => h.status.view));
}

/** A client writes, one operation after the other, a short pause between them. `bound`: none may take longer, milliseconds. */
export function keepsWriting(s: Scenario, milliseconds: number, bound: number): Progress {
  const end = s.cluster.now + milliseconds;
  const from = highestView(s);
  let writes = 0;
  let longest = 0;
  while (s.cluster.now < end) {
    const at = s.cluster.now;
    s.done(s.begin(writes % 6, ++writes), bound);
    longest = Math.max(longest, s.cluster.now - at);
    s.run(20);
  }
  return { writes, longest, views: highestView(s) - from };
}

/** Afterwards everything is as it should be: no view changes, each write within a round trip or two. */
export function isCalm(s: Scenario): void {
  const { views, longest } = keepsWriting(s, 3000, 1000);
  expect(views).toBe(0);
  expect(longest).toBeLessThan(50);
}
