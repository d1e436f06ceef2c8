/** For `then` and `catch` of who waits for the end of something, good or bad: whoever asked for it has the outcome. */
export function onlyTheMoment(): void {
  // Nothing is to be done.
}
