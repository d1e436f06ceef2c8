/**
 * The database has lost or changed what was written to it. What was read is not used, and nothing else of the state is
 * relied on until it has been repaired (repair.ts): who finds one flipped bit does not know how many there are.
 */
export class StoreDamageError extends Error {
  override readonly name = 'StoreDamageError';
  /** A record, a node of the tree, or something below both that the database itself has noticed. */
  readonly what: 'record' | 'node' | 'database';

  constructor(what: StoreDamageError['what'], message: string, options?: ErrorOptions) {
    super(message, options);
    this.what = what;
  }
}
