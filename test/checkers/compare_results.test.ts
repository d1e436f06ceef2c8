/** The model of the file system refuses wrong results: each lie here is one that a wrong service might tell. */
import { expect, it } from 'vitest';
import { Errno } from '../../fsservice/errno.ts';
import { decodeResult, encodeCall, isWriteOperation } from '../../fsservice/operation_codec.ts';
import type { Attributes, OperationType, Operation, Result, Results } from '../../fsservice/operations.ts';
import { at, ROOT, World } from '../fsservice/harness.ts';
import { checkResult } from './compare_results.ts';
import { ModelFileSystem } from './model_fs.ts';

type AnyResult = Result<OperationType>;

/** A directory with two files and a link, in the service and in the model. What the service says to `operation`, and what the checker says when it says `told` instead. */
function judged(operation: Operation, told: (truth: AnyResult) => AnyResult): string | null {
  const world = new World();
  const model = new ModelFileSystem();
  const ask = (asked: Operation, change: (truth: AnyResult) => AnyResult): string | null => {
    const call = { credentials: ROOT, operation: asked };
    const body = encodeCall(call);
    const bytes = isWriteOperation(asked) ? world.service.execute(world.entry('request', body, 0)) : world.service.query(body, world.time);
    const decoded = decodeResult(asked.type, bytes);
    if (!decoded.ok) throw new Error(decoded.reason);
    return checkResult(model, call, { op: world.op, time: world.time, session: 0 }, change(decoded.value as AnyResult), true);
  };
  const before: readonly Operation[] = [
    { type: 'mkdir', at: at('d'), mode: 0o755 },
    { type: 'putFile', at: at('d/f'), mode: 0o644, data: Buffer.from('content'), ifVersion: null },
    { type: 'putFile', at: at('d/g'), mode: 0o644, data: Buffer.from('other'), ifVersion: null },
    { type: 'link', from: at('d/f'), to: at('d/h'), follow: false },
    { type: 'setxattr', at: at('d/f'), follow: true, name: Buffer.from('user.x'), value: Buffer.from('value'), mode: 'any' },
  ];
  for (const one of before) expect(ask(one, (truth) => truth)).toBeNull();
  return ask(operation, told);
}

function attributes(change: (a: Attributes) => Partial<Attributes>): (truth: AnyResult) => AnyResult {
  return (truth) => {
    if (!truth.ok || !('attributes' in truth.value)) throw new Error('a result with attributes was expected');
    const value = truth.value as { attributes: Attributes };
    return { ok: true, value: { ...value, attributes: { ...value.attributes, ...change(value.attributes) } } } as AnyResult;
  };
}

function value<T extends OperationType>(_type: T, change: (v: Results[T]) => Results[T]): (truth: AnyResult) => AnyResult {
  return (truth) => {
    if (!truth.ok) throw new Error('a result was expected');
    return { ok: true, value: change(truth.value as Results[T]) } as AnyResult;
  };
}

const GETATTR: Operation = { type: 'getattr', at: at('d/f'), follow: true };
const READ: Operation = { type: 'read', at: at('d/f'), offset: 0, length: 100 };
const READDIR: Operation = { type: 'readdir', at: at('d'), after: Buffer.alloc(0), limit: 10, attributes: true };
const STATFS: Operation = { type: 'statfs' };
const refused = (errno: number) => (): AnyResult => ({ ok: false, errno }) as AnyResult;

it.each<readonly [string, Operation, (truth: AnyResult) => AnyResult]>([
  ['a size that is one off', GETATTR, attributes((a) => ({ size: a.size + 1 }))],
  ['another inode', GETATTR, attributes((a) => ({ ino: (a.ino + 1) as Attributes['ino'] }))],
  ['a link too few', GETATTR, attributes((a) => ({ nlink: a.nlink - 1 }))],
  ['another mode', GETATTR, attributes((a) => ({ mode: a.mode ^ 1 }))],
  ['an older version', GETATTR, attributes((a) => ({ version: a.version - 1 }))],
  ['ENOENT for what is there', GETATTR, refused(Errno.ENOENT)],
  ['an answer for what is not there', { type: 'getattr', at: at('d/none'), follow: true }, () => ({ ok: true, value: { attributes: {} } }) as AnyResult],
  ['another reason', { type: 'unlink', at: at('d/none') }, refused(Errno.EACCES)],
  ['other content', READ, value('read', (v) => ({ ...v, data: Buffer.from('contenT') }))],
  ['less content', READ, value('read', (v) => ({ ...v, data: v.data.subarray(1) }))],
  ['another size beside the content', READ, value('read', (v) => ({ ...v, size: v.size + 1 }))],
  ['a name less', READDIR, value('readdir', (v) => ({ ...v, entries: v.entries.slice(1) }))],
  ['names in another order', READDIR, value('readdir', (v) => ({ ...v, entries: [...v.entries].reverse() }))],
  ['entries with another size', READDIR, value('readdir', (v) => ({ ...v, entries: v.entries.map((e) => (e.attributes === undefined ? e : { ...e, attributes: { ...e.attributes, size: e.attributes.size + 1 } })) }))],
  ['another value of an attribute', { type: 'getxattr', at: at('d/f'), follow: true, name: Buffer.from('user.x') }, value('getxattr', (v) => ({ ...v, value: Buffer.from('valuE') }))],
  ['fewer bytes in use', STATFS, value('statfs', (v) => ({ ...v, bytes: v.bytes - 1 }))],
  ['an inode more', STATFS, value('statfs', (v) => ({ ...v, inodes: v.inodes + 1 }))],
  ['a link too few after an unlink', { type: 'unlink', at: at('d/h') }, value('unlink', (v) => ({ ...v, nlink: v.nlink - 1 }))],
])('refuses %s', (_lie, operation, told) => {
  expect(judged(operation, (truth) => truth)).toBeNull();
  expect(judged(operation, told)).toMatch(/^op \d+: .*\n {2}expected .*\n {2}actual/);
});
