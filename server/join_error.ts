/** No server of the list could be asked. */
export class JoinError extends Error {
  override readonly name = 'JoinError';
}
