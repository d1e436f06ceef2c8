/** Sorted arrays of latin1 keys: code units order as the bytes do. */

export function byCodeUnit(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** First index whose key is not below `id`. */
export function lowerBound(sorted: readonly string[], id: string): number {
  return lowerBoundBy(sorted, id, (key) => key);
}

/** The same of what has a key. */
export function lowerBoundBy<T>(sorted: readonly T[], id: string, keyOf: (one: T) => string): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (keyOf(sorted[middle] as T) < id) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Of a sorted sequence in which those that belong to one range lie together: behind the last of them. The one at `from` belongs to it; in steps that double, so that short runs cost no more than looking at each. */
export function endOfRun(from: number, to: number, belongs: (at: number) => boolean): number {
  let last = from;
  let step = 1;
  while (last + step < to && belongs(last + step)) {
    last += step;
    step *= 2;
  }
  let end = Math.min(last + step, to);
  while (end - last > 1) {
    const middle = (last + end) >>> 1;
    if (belongs(middle)) last = middle;
    else end = middle;
  }
  return end;
}
