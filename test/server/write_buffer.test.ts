import { expect, test } from 'vitest';
import { memberId } from '../../lib/ids.ts';
import { writeBufferBytesOf } from '../../server/boot.ts';

test('replicas of a group have write buffers of different sizes, none of them small or large', () => {
  for (let first = 1; first <= 250; first++) {
    const sizes = [0, 1, 2, 3, 4].map((i) => writeBufferBytesOf(memberId(first + i))).sort((a, b) => a - b);
    for (const [i, size] of sizes.entries()) {
      expect(size).toBeGreaterThanOrEqual(13 << 20);
      expect(size).toBeLessThan(19 << 20);
      // A twentieth apart: that many compactions later they meet once.
      if (i > 0) expect(size / (sizes[i - 1] ?? NaN)).toBeGreaterThan(1.04);
    }
  }
});
