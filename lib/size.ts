/** Sizes in bytes as people write them: 65536, 64K, 64Ki, 64KiB, 16M, 1G. All units are powers of 1,024. */
const UNITS: Readonly<Record<string, number>> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };

/** For error messages. */
export const SIZE_EXAMPLES = '65536, 64K, 16M or 1G';

/** Bytes; undefined: that is no size. */
export function parseSize(text: string): number | undefined {
  const match = /^(\d+)\s*(?:([KMGT])(?:i?B|i)?|B)?$/i.exec(text.trim());
  if (match === null) return undefined;
  const bytes = Number(match[1]) * (UNITS[(match[2] ?? '').toUpperCase()] as number);
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}
