/**
 * What a client's rejection means to an HTTP caller. The SDK's errors are told apart by their `name`, which is part of its API:
 * a request that was certainly not executed can be repeated (503), one that may have been cannot blindly (504).
 */
import { problem, ProblemError } from './problem.ts';

const RETRY = { 'retry-after': '1' };

function detailOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** `what`: the operation's type. An error of another kind is a fault of ours and is given back as it is. */
export function unavailable(error: unknown, what: string): Error {
  if (error instanceof ProblemError) return error;
  const name = error instanceof Error ? error.name : '';
  switch (name) {
    case 'OutcomeUnknown':
      return problem(504, 'outcome-unknown', 'Outcome unknown', `${what}: ${detailOf(error)}`, 'The change may or may not have been made: read the file back before repeating it. GET /v1/health says how the group is.');
    case 'NotReachable':
    case 'TimedOut':
    case 'Busy':
    case 'Closed':
      return problem(503, 'unavailable', 'Service unavailable', `${what}: ${detailOf(error)}`, 'No primary answered in time. Try again, also at another replica; GET /v1/health says what is missing.', RETRY);
    default:
      return error instanceof Error ? error : new Error(detailOf(error));
  }
}
