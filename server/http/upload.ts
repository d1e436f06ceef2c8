/**
 * A file longer than one operation can carry. It is written in steps into a temporary file beside the target, which then takes the target's
 * name in one rename: readers see the old content or the new, never a part. A failure on the way removes the temporary file; one that
 * a dying process leaves behind is called `.vrfs-put-<16 hex digits>`.
 */
import { randomBytes } from 'node:crypto';
import { defined } from '../../lib/assert.ts';
import { EMPTY } from '../../lib/bytes.ts';
import { Errno } from '../../fsservice/errno.ts';
import { SYMLINK_DEPTH_MAX, type At, type Attributes, type Result } from '../../fsservice/operations.ts';
import { pieces, type Body } from './body.ts';
import { parentOf } from './parents.ts';
import { atPath, settled, unsettled, type Gateway, type Settled } from './gateway.ts';
import type { HttpLog } from './ports.ts';
import { printable } from './bytes_text.ts';
import { errnoProblem } from './problem.ts';

/** Writes under way at once: enough to hide a round trip, few enough to bound memory (1 MiB each). */
const CAPABILITY = Buffer.from('security.capability');
const WINDOW = 4;

export interface Upload {
  readonly body: Body;
  /** Of a new file; an existing one keeps its own. */
  readonly mode: number;
  /** Fail with EEXIST when the target exists at the end. */
  readonly exclusive: boolean;
  /** Bytes. */
  readonly limit: number;
}

interface Target {
  /** Behind all symbolic links. */
  readonly path: Buffer;
  readonly existing: Attributes | null;
}

export async function upload(gateway: Gateway, log: HttpLog, u: Upload): Promise<{ readonly attributes: Attributes; readonly created: boolean }> {
  const target = await findTarget(gateway);
  if (u.exclusive && target.existing !== null) throw gateway.refusal(Errno.EEXIST, 'put', 412);
  if (target.existing?.type === 'directory') throw gateway.refusal(Errno.EISDIR, 'put');
  // A pipe, a socket or a device must not be replaced by a file.
  if (target.existing !== null && target.existing.type !== 'file') throw gateway.refusal(Errno.EINVAL, 'put');
  // As open(2) would: replacing by rename must not let through what writing in place would not.
  if (target.existing !== null) await gateway.query({ type: 'access', at: atPath(target.path), mask: 2 });
  const temporary = Buffer.concat([parentOf(target.path), Buffer.from(`.vrfs-put-${randomBytes(8).toString('hex')}`)]);
  const made = await gateway.submit({ type: 'create', at: atPath(temporary), mode: 0o600, exclusive: true, truncate: false });
  const at: At = { dir: made.attributes.ino, path: EMPTY };
  try {
    await writePieces(gateway, at, u);
    await dress(gateway, at, u, target);
    const renamed = await gateway.trySubmit({ type: 'rename', from: atPath(temporary), to: atPath(target.path), flags: u.exclusive ? 'noreplace' : 'none' });
    if (!renamed.ok) throw gateway.refusal(renamed.errno, 'put', u.exclusive && renamed.errno === Errno.EEXIST ? 412 : undefined);
  } catch (error) {
    await discard(gateway, log, temporary);
    throw error;
  }
  const { attributes } = await gateway.query({ type: 'getattr', at, follow: false });
  return { attributes, created: target.existing === null };
}

/** rename(2) replaces a symbolic link itself, so the links are walked here. */
async function findTarget(gateway: Gateway): Promise<Target> {
  let path = gateway.path;
  for (let depth = 0; depth <= SYMLINK_DEPTH_MAX; depth++) {
    const result = await gateway.tryQuery({ type: 'getattr', at: atPath(path), follow: false });
    if (!result.ok) {
      if (result.errno === Errno.ENOENT) return { path, existing: null };
      throw gateway.refusal(result.errno, 'put');
    }
    if (result.value.attributes.type !== 'symlink') return { path, existing: result.value.attributes };
    const { target } = await gateway.query({ type: 'readlink', at: atPath(path) });
    path = target[0] === 0x2f ? target.subarray(1) : Buffer.concat([parentOf(path), target]);
  }
  throw gateway.refusal(Errno.ELOOP, 'put');
}

async function writePieces(gateway: Gateway, at: At, u: Upload): Promise<void> {
  const underWay: Promise<Settled<Result<'write'>>>[] = [];
  let offset = 0;
  try {
    for await (const data of pieces(u.body, u.limit)) {
      if (underWay.length === WINDOW) accept(gateway, await underWay.shift());
      underWay.push(settled(gateway.trySubmit({ type: 'write', at, offset, data })));
      offset += data.length;
    }
    while (underWay.length > 0) accept(gateway, await underWay.shift());
  } finally {
    // After a failure the temporary file goes; writes that are still under way must have ended before.
    await Promise.all(underWay);
  }
}

function accept(gateway: Gateway, write: Settled<Result<'write'>> | undefined): void {
  const result = unsettled(defined(write, 'a write under way'));
  if (!result.ok) throw gateway.refusal(result.errno, 'write');
}

/** The new inode takes over what belongs to the file rather than to its content; the owner where the caller may give files away. */
async function dress(gateway: Gateway, at: At, u: Upload, { path, existing }: Target): Promise<void> {
  if (existing !== null) await copyExtendedAttributes(gateway, atPath(path), at);
  if (existing !== null && gateway.credentials.uid === 0) {
    await gateway.submit({ type: 'setattr', at, follow: false, set: { uid: existing.uid, gid: existing.gid } });
  }
  await gateway.submit({ type: 'setattr', at, follow: false, set: { mode: existing?.mode ?? u.mode } });
}

async function copyExtendedAttributes(gateway: Gateway, from: At, to: At): Promise<void> {
  const { names } = await gateway.query({ type: 'listxattr', at: from, follow: false });
  for (const name of names) {
    // Capabilities were given to the old content: a write in place takes them away too.
    if (name.equals(CAPABILITY)) continue;
    const { value } = await gateway.query({ type: 'getxattr', at: from, follow: false, name });
    await gateway.submit({ type: 'setxattr', at: to, follow: false, name, value, mode: 'any' });
  }
}

async function discard(gateway: Gateway, log: HttpLog, temporary: Buffer): Promise<void> {
  try {
    const result = await gateway.trySubmit({ type: 'unlink', at: atPath(temporary) });
    if (!result.ok && result.errno !== Errno.ENOENT) throw errnoProblem(result.errno, `unlink ${printable(temporary)}`);
  } catch (error) {
    log.warn({ err: error, path: printable(temporary) }, 'a temporary file of an upload that failed could not be removed; remove it by hand');
  }
}
