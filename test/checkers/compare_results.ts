/** Whether a result of the state machine is one that the model allows. */
import { isDeepStrictEqual } from 'node:util';
import type { Attributes, Call, OperationType, Result, Results } from '../../fsservice/operations.ts';
import type { ModelFileSystem, When } from './model_fs.ts';

type AnyResult = Result<OperationType>;

function show(value: unknown): string {
  return JSON.stringify(value, (_key, v: unknown) => (typeof v === 'object' && v !== null && 'type' in v && v.type === 'Buffer' && 'data' in v ? Buffer.from(v.data as number[]).toString('latin1').slice(0, 80) : v));
}

/** The same attributes, but for what collecting has not caught up with. */
function sameAttributes(model: ModelFileSystem, expected: Attributes, actual: Attributes, settled: boolean): boolean {
  const node = model.nodes.get(expected.ino) ?? model.lagging.get(expected.ino);
  const isLate = node === undefined || node.uncertain;
  const blocks = settled ? expected.blocks : actual.blocks;
  if (actual.blocks < expected.blocks) return false;
  if (!isLate) return isDeepStrictEqual({ ...expected, blocks }, actual);
  if (actual.nlink < expected.nlink && expected.type !== 'directory') return false;
  const { nlink, ctime, version } = actual;
  return isDeepStrictEqual({ ...expected, blocks, nlink, ctime, version, size: expected.type === 'directory' ? actual.size : expected.size }, actual);
}

function sameStatistics(model: ModelFileSystem, expected: Results['statfs'], actual: Results['statfs'], settled: boolean): boolean {
  if (settled && model.lagging.size === 0 && ![...model.nodes.values()].some((n) => n.uncertain && n.unlinkedAt !== 0)) return isDeepStrictEqual(expected, actual);
  return isDeepStrictEqual({ ...expected, inodes: actual.inodes, bytes: actual.bytes, orphans: actual.orphans }, actual) && actual.bytes >= expected.bytes;
}

function sameEntries(model: ModelFileSystem, expected: Results['readdir'], actual: Results['readdir'], settled: boolean): boolean {
  const strip = (r: Results['readdir']): unknown => ({ ...r, entries: r.entries.map(({ name, ino, type, attributes }) => ({ name: name.toString('latin1'), ino, type, has: attributes !== undefined })) });
  if (!isDeepStrictEqual(strip(expected), strip(actual))) return false;
  return expected.entries.every((e, i) => {
    const other = actual.entries[i]?.attributes;
    return e.attributes === undefined || other === undefined || sameAttributes(model, e.attributes, other, settled);
  });
}

function sameValue(model: ModelFileSystem, type: OperationType, expected: object, actual: object, settled: boolean): boolean {
  switch (type) {
    case 'collect':
    case 'keepAlive':
      return true;
    case 'statfs':
      return sameStatistics(model, expected as Results['statfs'], actual as Results['statfs'], settled);
    case 'readdir':
      return sameEntries(model, expected as Results['readdir'], actual as Results['readdir'], settled);
    case 'unlink': {
      const [e, a] = [expected as Results['unlink'], actual as Results['unlink']];
      const node = model.nodes.get(e.ino) ?? model.lagging.get(e.ino);
      return e.ino === a.ino && (node?.uncertain === true ? a.nlink >= e.nlink : a.nlink === e.nlink);
    }
    case 'read': {
      const [e, a] = [expected as Results['read'], actual as Results['read']];
      return e.size === a.size && e.data.equals(a.data);
    }
    default:
      break;
  }
  if (!('attributes' in expected) || !('attributes' in actual)) return isDeepStrictEqual(plain(expected), plain(actual));
  const { attributes: e, ...restOfExpected } = expected as { attributes: Attributes };
  const { attributes: a, ...restOfActual } = actual as { attributes: Attributes };
  return isDeepStrictEqual(restOfExpected, restOfActual) && sameAttributes(model, e, a, settled);
}

/** Buffers of one kind: a slice of a larger one is not deeply equal to a fresh one. */
function plain(value: object): unknown {
  return JSON.parse(JSON.stringify(value));
}

/**
 * Applies a call to the model and says what is wrong with the state machine's result, or null. `settled`: the state
 * machine has nothing left to collect, so that nothing may lag.
 */
export function checkResult(model: ModelFileSystem, call: Call, when: When, actual: AnyResult, settled: boolean): string | null {
  const expected: AnyResult = model.apply(call, when, actual);
  if (expected.ok && actual.ok && sameValue(model, call.operation.type, expected.value, actual.value, settled)) return null;
  if (!expected.ok && !actual.ok && expected.errno === actual.errno) return null;
  return `op ${when.op}: ${show(call)}\n  expected ${show(expected)}\n  actual   ${show(actual)}`;
}
