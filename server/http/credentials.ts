/**
 * On whose behalf a request acts: X-Vrfs-Uid, X-Vrfs-Gid, X-Vrfs-Groups, or HTTP Basic with the user id as the user name and
 * `gid[,group...]` as the password; without a gid it is the number of the user. They are believed, not proved: whoever reaches the port may act as anyone.
 * From loopback the default is root; from anywhere else a request has to say who it is.
 */
import { GROUPS_MAX } from '../../fsservice/limits.ts';
import type { IncomingHttpHeaders } from 'node:http';
import { hostname } from 'node:os';
import type { Credentials } from '../../fsservice/operations.ts';
import { hostOf } from './request_target.ts';
import { badRequest, problem } from './problem.ts';

export const ROOT: Credentials = Object.freeze({ uid: 0, gid: 0, groups: Object.freeze([]) });
const REMEDY = 'Send X-Vrfs-Uid, X-Vrfs-Gid and X-Vrfs-Groups (a list with commas) as decimal numbers below 4294967295.';

function id(text: string, what: string): number {
  const n = /^\d{1,10}$/.test(text) ? Number(text) : NaN;
  // 2^32 - 1 is "leave as it is" in chown(2), and no one's id.
  if (!(n < 0xffff_ffff)) throw badRequest(`${what} is '${text.slice(0, 40)}', which is not a user or group id.`, REMEDY);
  return n;
}

function groupList(text: string, what: string): number[] {
  const groups = text.split(',').map((part) => part.trim()).filter((part) => part !== '').map((part) => id(part, what));
  if (groups.length > GROUPS_MAX) throw badRequest(`${what} has ${groups.length} groups.`, `Give at most ${GROUPS_MAX} supplementary groups.`);
  return groups;
}

function basic(authorization: string): Credentials {
  const match = /^basic +([A-Za-z0-9+/=]+)$/i.exec(authorization);
  const text = match?.[1] === undefined ? '' : Buffer.from(match[1], 'base64').toString('latin1');
  const colon = text.indexOf(':');
  if (colon < 0) throw problem(401, 'unauthorized', 'Unauthorized', 'The Authorization header is not HTTP Basic with uid:gid.', 'Use "curl -u 1000:1000", or the headers X-Vrfs-Uid and X-Vrfs-Gid.', { 'www-authenticate': 'Basic realm="uid:gid"' });
  const uid = id(text.slice(0, colon), 'The user name');
  const [gid = uid, ...groups] = groupList(text.slice(colon + 1), 'The password');
  return { uid, gid, groups };
}

const LOCAL_NAME = /^(localhost|.+\.localhost|\d{1,3}(\.\d{1,3}){3}|\[[0-9a-f:.%]+\])(:\d+)?$/i;
const OWN_NAME = hostname().toLowerCase();

/**
 * A page of another site can have its own name resolve to 127.0.0.1 and then passes for a page of this server (DNS rebinding). Its requests still
 * carry that name, so a request over loopback has to name this machine.
 */
function checkHost(host: string): void {
  if (LOCAL_NAME.test(host) || host.toLowerCase().split(':', 1)[0] === OWN_NAME) return;
  throw problem(421, 'misdirected', 'Misdirected request', `The request came over loopback, but names the host '${host.slice(0, 100)}'.`, 'Use 127.0.0.1, localhost or the name of this machine in the URL; a proxy on this machine has to set Host so.');
}

function isLoopback(address: string | undefined): boolean {
  return address !== undefined && (address.startsWith('127.') || address === '::1' || address.startsWith('::ffff:127.'));
}

/** Throws a problem when the headers are malformed, or missing where they are needed. `target`: the URL as it came; a host in it counts instead of Host. */
export function credentialsOf(headers: IncomingHttpHeaders, remoteAddress: string | undefined, target = '/'): Credentials {
  const loopback = isLoopback(remoteAddress);
  if (loopback) checkHost(hostOf(target) ?? headers.host ?? '');
  const uid = headers['x-vrfs-uid'];
  const gid = headers['x-vrfs-gid'];
  const groups = headers['x-vrfs-groups'];
  if (uid === undefined && gid === undefined && groups === undefined) {
    if (headers.authorization !== undefined) return basic(headers.authorization);
    if (loopback) return ROOT;
    throw problem(401, 'unauthorized', 'Unauthorized', 'A request from another machine has to say on whose behalf it acts.', REMEDY, { 'www-authenticate': 'Basic realm="uid:gid"' });
  }
  if (uid === undefined) throw badRequest('X-Vrfs-Gid or X-Vrfs-Groups without X-Vrfs-Uid.', REMEDY);
  const user = id(String(uid), 'X-Vrfs-Uid');
  return {
    uid: user,
    gid: gid === undefined ? user : id(String(gid), 'X-Vrfs-Gid'),
    groups: groups === undefined ? [] : groupList(String(groups), 'X-Vrfs-Groups'),
  };
}
