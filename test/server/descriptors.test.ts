import { describe, expect, it } from 'vitest';
import { connectionShares, descriptorLimit } from '../../server/descriptors.ts';

describe('connections and file descriptors', () => {
  it('leave a quarter of a small limit for files, and 1536 of a large one', () => {
    for (const limit of [64, 256, 1024, 4096, 6144, 65_536, 2 ** 20]) {
      const { clients, strangers, http } = connectionShares(limit);
      expect(limit - clients - strangers - http, `of ${limit}`).toBeGreaterThanOrEqual(Math.min(1536, limit / 4));
      expect(Math.min(clients, strangers, http), `of ${limit}`).toBeGreaterThan(0);
    }
  });

  it('are bounded by what is configured alone where the limit is as high as usual, or none', () => {
    for (const limit of [524_288, 2 ** 20, Infinity]) expect(connectionShares(limit)).toMatchObject({ clients: expect.toSatisfy((n: number) => n > 200_000), strangers: 1024, http: expect.toSatisfy((n: number) => n > 150_000) });
  });

  it('go by the limit that is in force', () => {
    const limits = (open: string): string => `Limit                     Soft Limit           Hard Limit           Units     \nMax processes             94000                94000                processes \nMax open files            ${open}       files     \nMax locked memory         67108864             67108864             bytes     \n`;
    expect(descriptorLimit(() => limits('1024                 524288        '))).toBe(1024);
    expect(descriptorLimit(() => limits('unlimited            unlimited     '))).toBe(Infinity);
    expect(descriptorLimit(() => { throw new Error('there is no /proc'); })).toBe(Infinity);
    expect(descriptorLimit()).toBeGreaterThan(0);
  });
});
