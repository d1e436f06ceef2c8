/**
 * Branded identifiers. Each has one constructor, which checks the range; arithmetic on them
 * yields plain numbers, so that a sum has to be named again before it is used as an identifier.
 */
import { assert } from './assert.ts';

declare const brand: unique symbol;
type Brand<T, B extends string> = T & { readonly [brand]: B };

/** Position in the log, from 1; 0 is the state before the first operation. Below 2^48. */
export type OpNumber = Brand<number, 'OpNumber'>;
/**
 * A view, with the epoch that it belongs to: epoch * 2^32 + number of the view within the epoch. Comparing two of them
 * compares the epochs first (PROTOCOL row 20), wherever views are compared. Below 2^53.
 */
export type View = Brand<number, 'View'>;
/** Configuration number, from 0. Below 2^21. */
export type Epoch = Brand<number, 'Epoch'>;
/** A member of the group: assigned once, never reused, from 1. Below 2^32. */
export type MemberId = Brand<number, 'MemberId'>;
/** A client session: the op-number of its registration. 0 is the group itself. Below 2^48. */
export type SessionId = Brand<number, 'SessionId'>;
/** Inode number: 1 is the root directory, never reused. Below 2^48. */
export type Ino = Brand<number, 'Ino'>;
/** sha256 as a string of 32 latin1 code units: compares and keys maps faster than a Buffer. */
export type Digest = Brand<string, 'Digest'>;

const U21 = 2 ** 21;
const U32 = 2 ** 32;
const U48 = 2 ** 48;
const U53 = 2 ** 53;
function inRange(n: number, limit: number, what: string): void {
  assert(Number.isInteger(n) && n >= 0 && n < limit, () => `${what} out of range: ${n}`);
}

export function opNumber(n: number): OpNumber {
  inRange(n, U48, 'op-number');
  return n as OpNumber;
}
export function view(n: number): View {
  inRange(n, U53, 'view');
  return n as View;
}
/** The view with this number in this epoch. */
export function viewOf(at: Epoch, number: number): View {
  inRange(number, U32, 'number of a view');
  return (at * U32 + number) as View;
}
export function viewEpoch(v: View): Epoch {
  return Math.floor(v / U32) as Epoch;
}
/** Its number within its epoch. */
export function viewNumber(v: View): number {
  return v % U32;
}
export function laterOf(a: View, b: View): View {
  return a > b ? a : b;
}
export function epoch(n: number): Epoch {
  inRange(n, U21, 'epoch');
  return n as Epoch;
}
export function memberId(n: number): MemberId {
  inRange(n, U32, 'member id');
  return n as MemberId;
}
export function sessionId(n: number): SessionId {
  inRange(n, U48, 'session id');
  return n as SessionId;
}
export function ino(n: number): Ino {
  inRange(n, U48, 'inode number');
  return n as Ino;
}
export function digest(latin1: string): Digest {
  assert(latin1.length === 32, 'a digest has 32 bytes');
  return latin1 as Digest;
}
