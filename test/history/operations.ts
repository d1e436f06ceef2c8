/**
 * What is done to the two kinds of object that a history is about, and what may come back. An object is checked on its own:
 * linearizability is local (Herlihy & Wing, section 3.2), so a history is linearizable when each object's part of it is.
 *
 * register/NAME   one small file. It begins absent (null); every value is written once at most in a whole history.
 * directory/NAME  one directory, as one object: its names, and which file each of them is. It begins empty.
 */

/** The content of a register's file, or null: there is no such file. */
export type Content = string | null;

export type RegisterCall =
  | { readonly operation: 'read'; readonly arguments: Readonly<Record<string, never>> }
  | { readonly operation: 'write'; readonly arguments: { readonly value: string } }
  /** Writes `value` where the content is `expected`. The result says whether it was. */
  | { readonly operation: 'cas'; readonly arguments: { readonly expected: Content; readonly value: string } };

export type DirectoryCall =
  /** A new file with this content; the content names the file from then on. */
  | { readonly operation: 'create'; readonly arguments: { readonly name: string; readonly content: string } }
  /** With `replace` an existing file `to` is replaced, otherwise it is EEXIST. */
  | { readonly operation: 'rename'; readonly arguments: { readonly from: string; readonly to: string; readonly replace: boolean } }
  | { readonly operation: 'delete'; readonly arguments: { readonly name: string } }
  /** All names, sorted. */
  | { readonly operation: 'list'; readonly arguments: Readonly<Record<string, never>> }
  /** The content of the file with this name, or null. */
  | { readonly operation: 'get'; readonly arguments: { readonly name: string } };

export type Call = RegisterCall | DirectoryCall;
export type OperationName = Call['operation'];

/** read, get: Content. write: null. cas: boolean. create: 'ok' | 'EEXIST'. rename: 'ok' | 'ENOENT' | 'EEXIST'. delete: 'ok' | 'ENOENT'. list: names. */
export type Result = Content | boolean | readonly string[];

/**
 * ok: it was carried out, and this is its result (a refusal such as EEXIST or a failed compare is a result too).
 * fail: it was certainly not carried out, and never will be.
 * info: nobody knows; it may take effect at any time after its invocation, or never.
 */
export type Outcome = 'ok' | 'fail' | 'info';

interface Common {
  /** One logical thread of control: its operations do not overlap. After an unknown outcome it goes on under another number. */
  readonly process: number;
  /** register/NAME or directory/NAME */
  readonly object: string;
  /** ns since the run began, on one clock for all processes. */
  readonly invoke: number;
  /** The replica that was asked. */
  readonly replica: number;
  /** Of a read that any replica may answer, from a state of some time ago; without it an operation is linearizable. */
  readonly consistency?: Consistency | undefined;
  /** Of a bounded read: how old the state may be. */
  readonly maxStalenessMs?: number | undefined;
}

export type Consistency = 'causal' | 'bounded';

export type Completion =
  | { readonly outcome: 'ok'; readonly result: Result; readonly return: number }
  | { readonly outcome: 'fail'; readonly error: string; readonly return: number }
  | { readonly outcome: 'info'; readonly error: string; readonly return: null };

export type Operation = Common & Call & Completion;

/** An operation that may have had an effect: what a checker has to place. */
export type ObjectKind = 'register' | 'directory';

export function kindOf(object: string): ObjectKind {
  return object.startsWith('register/') ? 'register' : 'directory';
}

/** The content that an operation makes when it has an effect; nothing else in the history makes the same. */
export function contentMadeBy(call: Call): string | null {
  switch (call.operation) {
    case 'write':
    case 'cas': return call.arguments.value;
    case 'create': return call.arguments.content;
    default: return null;
  }
}

export function isRead(call: Call): boolean {
  return call.operation === 'read' || call.operation === 'list' || call.operation === 'get';
}
