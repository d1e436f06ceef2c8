/**
 * `X-Vrfs-Op`: the op-number that an answer reflects, and whose it is. `1234@340f3fefb5ddbf64`: op 1234 of the group whose id begins so.
 *
 * An op-number means something in its own group alone. At the same address there may be another group by now, one that was revived from an
 * older checkpoint (vr/revival.ts): it gives the numbers behind that anew, to other operations, and one that was seen before must not pass for
 * one of them. A bare number is taken at its word.
 */
import { badRequest, problem } from './problem.ts';

/** Bytes of the group's id; enough that no two groups are taken for one another. */
const GROUP_BYTES = 8;
const TOKEN = /^(\d{1,15})(?:@([0-9a-f]{16}))?$/;
/** Op-numbers have 48 bits. */
const OP_MAX = 2 ** 48 - 1;

function groupOf(clusterId: Buffer): string {
  return clusterId.toString('hex', 0, GROUP_BYTES);
}

export function opToken(op: number, clusterId: Buffer): string {
  return `${op}@${groupOf(clusterId)}`;
}

/** The op-number. @throws ProblemError 400: not a token; 409: of another group */
export function opOfToken(token: string, clusterId: Buffer): number {
  const [, op, group] = TOKEN.exec(token) ?? [];
  if (op === undefined || Number(op) > OP_MAX) throw badRequest(`X-Vrfs-Op is '${token.slice(0, 40)}', which is not an op-number.`, 'Send back the X-Vrfs-Op of an earlier answer.');
  if (group === undefined || group === groupOf(clusterId)) return Number(op);
  throw problem(409, 'other-group', 'Another group', `X-Vrfs-Op ${token} is of group ${group}..., and this replica belongs to group ${clusterId.toString('hex')}.`,
    'If the group was revived from a checkpoint since, what came after that checkpoint is lost: forget the X-Vrfs-Op and the ETags that were seen before, and read anew without it. Otherwise check the address.');
}
