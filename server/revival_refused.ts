/** Of a revival, or of going on alone: it may not be done, or there is nothing to do. */
export class RevivalRefusedError extends Error {
  override readonly name = 'RevivalRefusedError';
  readonly remedy: string;
  constructor(what: string, remedy: string, options?: ErrorOptions) {
    super(what, options);
    this.remedy = remedy;
  }
}
