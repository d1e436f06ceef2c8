/**
 * What it means to an HTTP caller that the client of the group has no result: a request that was certainly not executed can be repeated
 * (503), one that may have been cannot blindly (504).
 */
import { BadAnswer, Behind, Busy, Closed, InvalidCall, VrfsError } from '../../client/errors.ts';
import { badRequest, problem, ProblemError } from './problem.ts';

const RETRY = { 'retry-after': '1' };

/** `what`: the operation's type. An error of another kind is a fault of ours and is given back as it is. */
export function unavailable(error: unknown, what: string): Error {
  if (error instanceof ProblemError) return error;
  if (!(error instanceof VrfsError)) return error instanceof Error ? error : new Error(String(error));
  const detail = `${what}: ${error.message}`;
  if (error instanceof InvalidCall) return badRequest(detail, 'Compare the request with GET /openapi.json; one operation carries at most 1 MiB.');
  if (error instanceof BadAnswer) return problem(502, 'bad-answer', 'Bad answer', detail, 'Run one version on all replicas; then read the present state before repeating a change.');
  if (error.mayHaveHappened) {
    return problem(504, 'outcome-unknown', 'Outcome unknown', detail, 'The change may or may not have been made: read the file back before repeating it. GET /v1/health says how the group is.');
  }
  if (error instanceof Busy && error.retryAfterMs !== null) {
    // Whole seconds, at least one: a header cannot say less.
    const seconds = Math.max(1, Math.ceil(error.retryAfterMs / 1000));
    return problem(503, 'busy', 'Busy', detail, 'The group takes no more changes at present: try again later; GET /v1/status of the replicas says what it waits for.', { 'retry-after': String(seconds) });
  }
  if (error instanceof Behind) {
    return problem(503, 'behind', 'Behind', detail, 'Try again, or at another replica; with consistency=linearizable nothing has to be waited for. An X-Vrfs-Op that no answer of this group ever had is never reached.', RETRY);
  }
  if (error instanceof Busy) return problem(503, 'busy', 'Busy', detail, 'This replica has more requests under way than it takes: send fewer at once, or to other replicas too.', RETRY);
  if (error instanceof Closed) return problem(503, 'stopping', 'Stopping', detail, 'This replica is shutting down: ask another one.', RETRY);
  return problem(503, 'unavailable', 'Service unavailable', detail, 'Nothing was changed. Try again, also at another replica; GET /v1/health says what is missing.', RETRY);
}
