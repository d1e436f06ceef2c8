import { describe, expect, it } from 'vitest';
import { Pieces } from '../../lib/pieces.ts';
import { Prng } from '../../lib/prng.ts';

function gathered(size: number, chunks: readonly Uint8Array[]): Buffer[] {
  const pieces = new Pieces(size);
  const all = chunks.flatMap((chunk) => pieces.add(chunk));
  const rest = pieces.rest();
  return rest === null ? all : [...all, rest];
}

describe('pieces', () => {
  it('are all of one length but the last, and the same bytes, whatever the chunks are', () => {
    for (let seed = 0; seed < 200; seed++) {
      const r = new Prng(seed);
      const size = 1 + r.below(20);
      const chunks = Array.from({ length: r.below(12) }, () => r.bytes(r.below(50)));
      const pieces = gathered(size, chunks);
      expect(Buffer.concat(pieces).equals(Buffer.concat(chunks))).toBe(true);
      for (const [i, piece] of pieces.entries()) {
        if (i < pieces.length - 1) expect(piece.length).toBe(size);
        expect(piece.length).toBeGreaterThan(0);
        expect(piece.length).toBeLessThanOrEqual(size);
      }
    }
  });

  it('are there as soon as they are whole', () => {
    const pieces = new Pieces(4);
    expect(pieces.add(Buffer.from('abc'))).toEqual([]);
    expect(pieces.add(Buffer.from('defgh')).map(String)).toEqual(['abcd', 'efgh']);
    expect(pieces.rest()).toBeNull();
    expect(pieces.add(Buffer.from('i'))).toEqual([]);
    expect(String(pieces.rest())).toBe('i');
  });

  it('of a chunk that is used again stay as they were', () => {
    const pieces = new Pieces(4);
    const chunk = Buffer.from('abcd');
    const [piece] = pieces.add(chunk);
    chunk.fill('x');
    expect(String(piece)).toBe('abcd');
  });
});
