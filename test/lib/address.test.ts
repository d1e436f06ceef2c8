import { describe, expect, it } from 'vitest';
import { formatAddress, MAX_ADDRESS_BYTES, parseAddress, parseDestination } from '../../lib/address.ts';

const reasonOf = (text: string): string | null => {
  const parsed = parseDestination(text);
  return parsed.ok ? null : parsed.reason;
};

describe('an address', () => {
  it('is host:port', () => {
    expect(parseAddress('127.0.0.1:80')).toEqual({ ok: true, value: { host: '127.0.0.1', port: 80 } });
    expect(parseAddress('[::1]:0')).toEqual({ ok: true, value: { host: '::1', port: 0 } });
    expect(parseAddress('node-1.example:65535').ok).toBe(true);
    for (const text of ['', 'a', 'a:', ':1', 'a:65536', 'a:-1', '::1:80', 'a b:1', 'http://a:1', 'a/b:1', 'a@b:1', 'a:1\n', 'ä:1', '\ufffd:1', 'a\0:1']) {
      expect(parseAddress(text).ok, text).toBe(false);
    }
  });

  it('is written as it is read', () => {
    for (const text of ['127.0.0.1:80', '[::1]:7101', 'h:1']) {
      const parsed = parseAddress(text);
      expect(parsed.ok && formatAddress(parsed.value)).toBe(text);
    }
  });

  it('to connect to has a port', () => {
    expect(reasonOf('a:0')).toMatch(/^"a:0" is not an address to connect to: its port is 0/);
    expect(reasonOf('a:1')).toBeNull();
  });

  it('has a bounded length, and so has what is said of one that has not', () => {
    const host = 'h'.repeat(MAX_ADDRESS_BYTES - 3);
    expect(reasonOf(`${host}:80`)).toBeNull();
    expect(reasonOf(`${host}h:80`)).toMatch(/^"h+"\.\.\. \(256 characters, 255 at most\) is not an address: write host:port/);
    expect(reasonOf('\0'.repeat(60_000))?.length).toBeLessThan(600);
  });
});
