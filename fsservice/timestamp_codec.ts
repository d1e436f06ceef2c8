/** A timestamp in calls and results: seconds in signed 48 bits, nanoseconds in 32. */
import { DecodeError, unboxed, type Reader, type Writer } from '../lib/bytes.ts';
import { TIME_MAX, TIME_MIN, type Timestamp } from './operations.ts';

/** @throws RangeError for a time that has no such bytes */
export function putTimestamp(w: Writer, t: Timestamp): void {
  if (!(t.sec >= TIME_MIN && t.sec <= TIME_MAX)) throw new RangeError(`${t.sec} s since 1970 are not within ${TIME_MIN} and ${TIME_MAX}`);
  // Signed 48 bits, as in the inode: i64 would go through a BigInt.
  w.u48(t.sec < 0 ? t.sec + 2 ** 48 : t.sec).u32(t.nsec);
}

export function takeTimestamp(r: Reader): Timestamp {
  const raw = r.u48();
  const nsec = r.u32();
  if (nsec > 999_999_999) throw new DecodeError(`${nsec} nanoseconds are more than a second`);
  return { sec: raw >= 2 ** 47 ? unboxed(raw - 2 ** 48) : raw, nsec };
}
