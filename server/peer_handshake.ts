/**
 * What two replicas say before the first message: who they are and whom they mean. The first byte of a connection tells a
 * replica from a client, whose messages have small kinds.
 *
 *   hello    F0 | version u8 | cluster id 16 | from u32 | to u32 | instance 16    both sides, the dialling one first
 *   refusal  F1 | reason                                                instead of the answer, or after it by the dialling side
 *   ping     F2                                                         when nothing else was sent for a while
 *   message  (behind the hellos) envelope | message
 */
import { decodeAll, DecodeError, Writer, type Decoded } from '../lib/bytes.ts';
import { memberId, type MemberId } from '../lib/ids.ts';
import type { PeerPins } from './peer_pins.ts';

export const LINK_VERSION = 2;
const Kind = { hello: 0xf0, refusal: 0xf1, ping: 0xf2 } as const;

export interface PeerHello {
  readonly clusterId: Buffer;
  readonly from: MemberId;
  readonly to: MemberId;
  /** 16 bytes: of the sender's data directory. */
  readonly instance: Buffer;
}

export const PING: Buffer = Buffer.from([Kind.ping]);

export function isPing(payload: Buffer): boolean {
  return payload.length === 1 && payload[0] === Kind.ping;
}

/** A connection that begins so is a replica's. */
export function isPeerHello(payload: Buffer): boolean {
  return payload[0] === Kind.hello;
}

export function encodePeerHello(h: PeerHello): Buffer {
  return new Writer(48).u8(Kind.hello).u8(LINK_VERSION).raw(h.clusterId).u32(h.from).u32(h.to).raw(h.instance).finish();
}

export function encodeRefusal(reason: string): Buffer {
  return new Writer(64).u8(Kind.refusal).string16(reason).finish();
}

/** Why the other side will not have this one; null: it is no refusal. */
export function decodeRefusal(payload: Buffer): string | null {
  if (payload[0] !== Kind.refusal) return null;
  const decoded = decodeAll(payload.subarray(1), (r) => r.string16());
  return decoded.ok ? decoded.value : `it gives a reason that cannot be read (${decoded.reason})`;
}

export function decodePeerHello(payload: Buffer): Decoded<PeerHello> {
  return decodeAll(payload, (r) => {
    const kind = r.u8();
    if (kind !== Kind.hello) throw new DecodeError('the other side does not speak as a replica does');
    const version = r.u8();
    if (version !== LINK_VERSION) throw new DecodeError(`it speaks version ${version} of the replica link, this one version ${LINK_VERSION}`);
    return { clusterId: Buffer.from(r.raw(16)), from: memberId(r.u32()), to: memberId(r.u32()), instance: Buffer.from(r.raw(16)) };
  });
}

/** Why a hello cannot be accepted, or null. */
export function refusalOf(hello: PeerHello, expected: { readonly clusterId: Buffer; readonly self: MemberId; readonly isPeer: (id: MemberId) => boolean; readonly pins: Pick<PeerPins, 'refusal'> }): string | null {
  if (!hello.clusterId.equals(expected.clusterId)) {
    return `group ${hello.clusterId.toString('hex')} is not group ${expected.clusterId.toString('hex')}: the address in the configuration belongs to a replica of another group`;
  }
  if (hello.to !== expected.self) return `this is member ${expected.self}, not member ${hello.to}: two members' addresses have been mixed up`;
  if (!expected.isPeer(hello.from)) return `member ${hello.from} does not belong to the group`;
  return expected.pins.refusal(hello.from, hello.instance);
}
