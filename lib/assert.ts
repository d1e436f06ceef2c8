/** Stops the process (or the simulated replica) on a broken invariant of ours. Never for bad input: that gets a reason. */
export class AssertionError extends Error {
  override readonly name = 'AssertionError';
}

export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}

/** Closes a switch over a union: a new variant that is not handled becomes a compile error. */
export function unreachable(value: never): never {
  throw new AssertionError(`unreachable: ${JSON.stringify(value)}`);
}

/** For indexed access whose bounds the caller has established. */
export function defined<T>(value: T | undefined, what: string): T {
  if (value === undefined) throw new AssertionError(`missing: ${what}`);
  return value;
}
