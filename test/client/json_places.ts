/** Every place in a JSON value, with a function that gives the whole value with something else there. */
export function* places(value: unknown, put: (v: unknown) => unknown): Generator<{ readonly now: unknown; readonly put: (v: unknown) => unknown }> {
  yield { now: value, put };
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) yield* places(value[i], (v) => put(value.map((old: unknown, j) => (j === i ? v : old))));
  } else if (typeof value === 'object' && value !== null) {
    for (const [key, old] of Object.entries(value)) yield* places(old, (v) => put({ ...value, [key]: v }));
  }
}
