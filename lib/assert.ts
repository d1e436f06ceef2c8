/** Stops the process (or the simulated replica) on a broken invariant of ours. Never for bad input: that gets a reason. */
export class AssertionError extends Error {
  override readonly name = 'AssertionError';
}

/** A message with something in it is a function: most assertions hold, and some are asked a million times a second. */
type Message = string | (() => string);

function textOf(message: Message): string {
  return typeof message === 'string' ? message : message();
}

export function assert(condition: unknown, message: Message): asserts condition {
  if (!condition) throw new AssertionError(textOf(message));
}

/** Closes a switch over a union: a new variant that is not handled becomes a compile error. */
export function unreachable(value: never): never {
  throw new AssertionError(`unreachable: ${JSON.stringify(value)}`);
}

/** For indexed access whose bounds the caller has established. */
export function defined<T>(value: T | undefined, what: Message): T {
  if (value === undefined) throw new AssertionError(`missing: ${textOf(what)}`);
  return value;
}
