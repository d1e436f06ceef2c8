import { describe, expect, it } from 'vitest';
import { parseSize } from '../../lib/size.ts';

describe('a size', () => {
  it.each([['0', 0], ['65536', 65_536], ['64K', 65_536], ['64 KiB', 65_536], ['64Ki', 65_536], ['2gi', 2 ** 31], ['16m', 16 * 2 ** 20], [' 1GB ', 2 ** 30], ['2T', 2 ** 41], ['12B', 12]])('%j is %d bytes', (text, bytes) => {
    expect(parseSize(text)).toBe(bytes);
  });

  it.each(['', 'K', '-1', '1.5M', '1e6', '16X', '16iB', '16i', '16Kib/s', 'Ki', '0x10', '9007199254740993', '99999999T'])('%j is none', (text) => {
    expect(parseSize(text)).toBeUndefined();
  });
});
