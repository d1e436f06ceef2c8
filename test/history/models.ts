/** The sequential models: what an object does when nothing runs at the same time. States are values, and their keys tell them apart. */
import { unreachable } from '../../lib/assert.ts';
import { isRead, type Call, type Content, type DirectoryCall, type ObjectKind, type RegisterCall, type Result } from './operations.ts';

export interface Step<S> {
  readonly state: S;
  readonly result: Result;
}

export interface Model<S> {
  readonly initial: S;
  /** Both are functions of the state alone, so that an operation with an unknown result has one effect in each state. */
  step(state: S, call: Call): Step<S>;
  /** Equal states, equal keys. */
  key(state: S): string;
}

function stepRegister(state: Content, call: RegisterCall): Step<Content> {
  switch (call.operation) {
    case 'read': return { state, result: state };
    case 'write': return { state: call.arguments.value, result: null };
    case 'cas': {
      const matches = state === call.arguments.expected;
      return { state: matches ? call.arguments.value : state, result: matches };
    }
    default: return unreachable(call);
  }
}

/** name → content, in the order of the names. */
type Entries = ReadonlyMap<string, string>;

function sorted(entries: Iterable<readonly [string, string]>): Entries {
  return new Map([...entries].sort(([a], [b]) => (a < b ? -1 : 1)));
}

function without(entries: Entries, name: string): Entries {
  return new Map([...entries].filter(([n]) => n !== name));
}

function stepDirectory(state: Entries, call: DirectoryCall): Step<Entries> {
  switch (call.operation) {
    case 'list': return { state, result: [...state.keys()] };
    case 'get': return { state, result: state.get(call.arguments.name) ?? null };
    case 'create': {
      const { name, content } = call.arguments;
      return state.has(name) ? { state, result: 'EEXIST' } : { state: sorted([...state, [name, content]]), result: 'ok' };
    }
    case 'delete': {
      const { name } = call.arguments;
      return state.has(name) ? { state: without(state, name), result: 'ok' } : { state, result: 'ENOENT' };
    }
    case 'rename': {
      const { from, to, replace } = call.arguments;
      const content = state.get(from);
      // As rename(2): a source that is not there comes before a target that is.
      if (content === undefined) return { state, result: 'ENOENT' };
      if (!replace && state.has(to)) return { state, result: 'EEXIST' };
      return { state: sorted([...without(without(state, from), to), [to, content]]), result: 'ok' };
    }
    default: return unreachable(call);
  }
}

export const registerModel: Model<Content> = {
  initial: null,
  step: (state, call) => stepRegister(state, call as RegisterCall),
  key: (state) => JSON.stringify(state),
};

export const directoryModel: Model<Entries> = {
  initial: new Map(),
  step: (state, call) => stepDirectory(state, call as DirectoryCall),
  key: (state) => JSON.stringify([...state]),
};

export function modelOf(kind: ObjectKind): Model<unknown> {
  // A model is only ever given its own states back.
  return kind === 'register' ? (registerModel as Model<unknown>) : (directoryModel as Model<unknown>);
}

export function sameResult(a: Result, b: Result): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** A call with this result leaves any state as it is. (A write of what is there already does so only by chance.) */
export function changesNothing(call: Call, result: Result): boolean {
  return isRead(call) || result === false || result === 'EEXIST' || result === 'ENOENT';
}
