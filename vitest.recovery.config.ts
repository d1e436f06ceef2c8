import { defineConfig } from 'vitest/config';

// The recovery suite, all of it: `npm run test:recovery`. One file at a time, for some run real processes.
export default defineConfig({
  test: {
    include: ['test/recovery/**/*.test.ts', 'test/e2e/{recovery,killed_store,transfer}.test.ts'],
    testTimeout: 3_600_000,
    hookTimeout: 300_000,
    fileParallelism: false,
  },
});
