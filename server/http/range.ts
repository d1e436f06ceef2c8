/** RFC 9110 byte ranges. One range is served; several, or another unit, are ignored, as the RFC allows. */

export type ByteRange =
  /** All of it: no range, or one that may be ignored. */
  | { readonly type: 'whole' }
  | { readonly type: 'part'; readonly offset: number; readonly length: number }
  | { readonly type: 'unsatisfiable' };

const WHOLE: ByteRange = Object.freeze({ type: 'whole' });

/** `size` is the file's, in bytes. */
export function byteRange(header: string | undefined, size: number): ByteRange {
  if (header === undefined) return WHOLE;
  const match = /^bytes=\s*(\d*)-(\d*)\s*$/i.exec(header);
  if (match === null) return WHOLE;
  const first = match[1] ?? '';
  const last = match[2] ?? '';
  if (first === '') {
    if (last === '') return WHOLE;
    const length = Math.min(Number(last), size);
    return length === 0 ? { type: 'unsatisfiable' } : { type: 'part', offset: size - length, length };
  }
  const offset = Number(first);
  if (last !== '' && Number(last) < offset) return WHOLE;
  if (offset >= size) return { type: 'unsatisfiable' };
  const end = last === '' ? size : Math.min(Number(last) + 1, size);
  return { type: 'part', offset, length: end - offset };
}
