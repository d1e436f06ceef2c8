import { describe, expect, it } from 'vitest';
import { encodeFrame, FrameBatch, FrameDecoder, FRAME_HEADER_BYTES } from '../../lib/frame.ts';
import { Prng } from '../../lib/prng.ts';

function collect(decoder: FrameDecoder, chunks: readonly Buffer[]): { payloads: Buffer[]; reason: string | null } {
  const payloads: Buffer[] = [];
  let reason: string | null = null;
  for (const chunk of chunks) reason = decoder.push(chunk, (p) => payloads.push(Buffer.from(p)));
  return { payloads, reason };
}

describe('frames', () => {
  it('has the layout length | crc32 | payload', () => {
    // cbf43926 is the check value of CRC-32/ISO-HDLC.
    expect(encodeFrame(Buffer.from('123456789')).toString('hex')).toBe(`00000009cbf43926${Buffer.from('123456789').toString('hex')}`);
  });

  it('is cut right wherever the stream is split', () => {
    const payloads = [Buffer.from('a'), Buffer.from('second'), Buffer.alloc(40, 7)];
    const stream = Buffer.concat(payloads.map(encodeFrame));
    for (let i = 0; i <= stream.length; i++) {
      for (let j = i; j <= stream.length; j++) {
        const decoder = new FrameDecoder();
        const got = collect(decoder, [stream.subarray(0, i), stream.subarray(i, j), stream.subarray(j)]);
        expect(got.reason).toBeNull();
        expect(decoder.pending).toBe(false);
        expect(got.payloads).toEqual(payloads);
      }
    }
  });

  it('passes random batches through random chunks, small and large', () => {
    const random = new Prng(7);
    for (let round = 0; round < 40; round++) {
      const payloads = Array.from({ length: random.between(1, 60) }, () => random.bytes(random.chance(0.1) ? random.between(16_000, 90_000) : random.between(1, 300)));
      const batch = new FrameBatch();
      const streams: Buffer[] = [];
      for (const p of payloads) {
        batch.add(p);
        if (random.chance(0.1)) streams.push(...batch.take());
      }
      streams.push(...batch.take());
      expect(batch.length).toBe(0);
      const stream = Buffer.concat(streams);
      const chunks: Buffer[] = [];
      for (let at = 0; at < stream.length; ) {
        const take = random.between(1, random.chance(0.5) ? 50 : 70_000);
        chunks.push(stream.subarray(at, at + take));
        at += take;
      }
      const got = collect(new FrameDecoder(), chunks);
      expect(got.reason).toBeNull();
      expect(got.payloads.length).toBe(payloads.length);
      got.payloads.forEach((p, i) => { expect(p.equals(payloads[i] as Buffer)).toBe(true); });
    }
  });

  it('notices every flipped bit of a payload or checksum', () => {
    const frame = encodeFrame(Buffer.from('precious'));
    for (let bit = 4 * 8; bit < frame.length * 8; bit++) {
      const damaged = Buffer.from(frame);
      damaged[bit >> 3] = (damaged[bit >> 3] as number) ^ (1 << (bit & 7));
      const got = collect(new FrameDecoder(), [damaged]);
      expect(got.payloads).toEqual([]);
      expect(got.reason).toMatch(/checksum/);
    }
  });

  it('refuses empty and oversized frames before it allocates anything, for good', () => {
    for (const length of [0, 101, 0xffff_ffff]) {
      const header = Buffer.alloc(FRAME_HEADER_BYTES);
      header.writeUInt32BE(length, 0);
      for (const cut of [0, 1, 5, 8]) {
        const decoder = new FrameDecoder(100);
        const got = collect(decoder, [header.subarray(0, cut), header.subarray(cut), encodeFrame(Buffer.from('x'))]);
        expect(got.payloads).toEqual([]);
        expect(got.reason).toMatch(/frame of \d+ bytes/);
      }
    }
  });
});
