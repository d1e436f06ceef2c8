import { describe, expect, test } from 'vitest';
import { MAX_ADDRESS_BYTES } from '../../lib/address.ts';
import { epoch, memberId, opNumber, type MemberId } from '../../lib/ids.ts';
import { configuration, type Configuration, type Member, type Role } from '../../vr/configuration.ts';
import { MAX_BODY_BYTES } from '../../vr/entry.ts';
import { MAX_ELECTORS, MAX_MEMBERS, promotion, refusal, type Readiness } from '../../vr/membership.ts';
import { decodeReconfigurationBody, encodeReconfigurationBody } from '../../vr/reconfiguration_body.ts';

const member = (id: number, role: Role = 'voter', address = `h${id}:1`): Member => ({ id: memberId(id), role, address, httpAddress: `h${id}:2` });
const group = (...members: Member[]): Configuration => configuration(epoch(4), members, 'disk');
const three = group(member(1), member(2), member(3));
const five = group(...[1, 2, 3, 4, 5].map((id) => member(id)));
const all = (): Readiness => 'ready';
const except = (id: number, state: Readiness) => (m: MemberId): Readiness => (m === id ? state : 'ready');
const reason = (present: Configuration, members: Member[], readiness: (id: MemberId) => Readiness = all, force = false): string | null => {
  const refused = refusal(present, members, readiness, force);
  return refused === null ? null : `${refused.code}: ${refused.reason}`;
};

describe('who may become the members', () => {
  test('one more, one less of four, one in place of another, three to five and back', () => {
    expect(reason(three, [...three.members, member(4)])).toBeNull();
    expect(reason(group(...three.members, member(4)), [...three.members])).toBeNull();
    expect(reason(three, [member(1), member(2), member(9)])).toBeNull();
    expect(reason(three, [...five.members])).toBeNull();
    expect(reason(five, [...three.members])).toBeNull();
  });

  test('observers come and go, and get a vote', () => {
    const observed = group(...three.members, member(4, 'observer'));
    expect(reason(three, [...observed.members])).toBeNull();
    expect(reason(observed, [...three.members, member(4)])).toBeNull();
    expect(reason(observed, [...three.members])).toBeNull();
  });

  test('fewer than three with a vote are refused, unless there were fewer', () => {
    expect(reason(three, [member(1), member(2)])).toMatch(/^invalid: the group would have 2 members with a vote/);
    expect(reason(three, [member(1), member(2), member(3, 'observer')])).toMatch(/2 members with a vote/);
    expect(reason(group(member(1)), [member(1), member(2)])).toBeNull();
    expect(reason(group(member(1), member(2)), [member(1), member(2), member(3)])).toBeNull();
    expect(reason(group(member(1), member(2)), [member(1)])).toMatch(/1 members with a vote/);
  });

  test('more than one would survive may not leave at once', () => {
    expect(reason(three, [member(1), member(8), member(9)])).toMatch(/^invalid: 2 members with a vote would go at once; this group survives the loss of 1/);
    expect(reason(five, [member(1), member(2), member(8), member(9), member(10)])).toMatch(/3 members with a vote would go at once/);
    expect(reason(five, [member(1), member(2), member(3), member(8), member(9)])).toBeNull();
  });

  test('witnesses: no more than failures survived, and they stay witnesses', () => {
    const witnessed = group(member(1), member(2), member(3, 'witness'));
    expect(reason(three, [...witnessed.members])).toBeNull();
    expect(reason(three, [member(1), member(2, 'witness'), member(3, 'witness')])).toMatch(/^invalid: of 3 members with a vote at most 1 may be witnesses, not 2/);
    expect(reason(witnessed, [...three.members])).toMatch(/member 3 is a witness and keeps no state: add a new node .*, then remove this one/);
  });

  test('nonsense', () => {
    expect(reason(three, [...three.members])).toBe('invalid: these are the members already');
    expect(reason(three, [...three.members, member(1, 'voter', 'x:1')])).toBe('invalid: a member is named twice');
    expect(reason(three, [...three.members, member(4, 'voter', 'h1:1')])).toBe('invalid: two members have the same address');
    expect(reason(three, [member(1), member(2), member(3, 'voter', 'h9:1')])).toMatch(/^invalid: member 3 has the address h3:1; a member keeps its addresses/);
    expect(reason(three, [...three.members, member(0)])).toBe('invalid: a member id is not 0');
    expect(reason(three, three.members.map((m) => ({ ...m, role: 'observer' })))).toBe('invalid: no member would be left that may lead');
    expect(reason(three, Array.from({ length: MAX_ELECTORS + 1 }, (_, i) => member(i + 1)))).toMatch(/^invalid: at most 9 members have a vote, not 10/);
    expect(reason(three, Array.from({ length: MAX_MEMBERS + 1 }, (_, i) => member(i + 1, i < 3 ? 'voter' : 'observer')))).toMatch(/^invalid: a group has at most 32 members/);
  });

  test('addresses that are none, or that lead to somebody else, never become part of the group', () => {
    const with4 = (address: string, httpAddress = 'h4:2'): string | null => reason(three, [...three.members, { ...member(4, 'observer', address), httpAddress }], all, true);
    expect(with4('garbage')).toMatch(/^invalid: the address of member 4: "garbage" is not an address: write host:port/);
    expect(with4('h4:0')).toMatch(/^invalid: the address of member 4: .*its port is 0/);
    expect(with4('h4:1', '')).toMatch(/^invalid: the HTTP address of member 4: "" is not an address/);
    expect(with4('h4:1', 'not an address')).toMatch(/^invalid: the HTTP address of member 4: "not an address" is not an address/);
    expect(with4(`${'h'.repeat(300)}:1`)).toMatch(/^invalid: the address of member 4: "h+"\.\.\. \(302 characters, 255 at most\)/);
    expect(with4(`${'\ufffd'.repeat(40_000)}:1`)).toMatch(/^invalid: the address of member 4/);
    expect(with4('h4:1', 'h1:2')).toBe('invalid: members 1 and 4 would have the same address, h1:2');
    expect(with4('h4:1', 'h1:1')).toBe('invalid: members 1 and 4 would have the same address, h1:1');
    expect(with4('h4:1', 'h4:1')).toBe('invalid: member 4 would have h4:1 as its address and as its HTTP address');
  });

  test('a member that has no proper address from earlier does not stand in the way, and can leave', () => {
    const odd = group(...three.members, { ...member(4, 'observer'), httpAddress: 'not an address' });
    expect(reason(odd, [...odd.members, member(5, 'observer')])).toBeNull();
    expect(reason(odd, [...three.members])).toBeNull();
  });

  test('the largest group with the longest addresses fits an entry of the log; one that does not is refused', () => {
    const long = (id: number, role: Role): Member => {
      const end = `-${id}`.padStart(200, 'x');
      return { id: memberId(id), role, address: `${end.padStart(MAX_ADDRESS_BYTES - 2, 'y')}:1`, httpAddress: `${end.padStart(MAX_ADDRESS_BYTES - 2, 'z')}:2` };
    };
    const largest = group(...Array.from({ length: MAX_MEMBERS - 1 }, (_, i) => long(i + 1, i < 3 ? 'voter' : 'observer')));
    const next = [...largest.members, long(99, 'observer')];
    expect(next.every((m) => m.address.length === MAX_ADDRESS_BYTES)).toBe(true);
    expect(reason(largest, next)).toBeNull();
    const body = encodeReconfigurationBody({ previous: largest, next: configuration(epoch(5), next, 'disk'), held: opNumber(0) });
    expect(body.length).toBeLessThan(MAX_BODY_BYTES);
    expect(decodeReconfigurationBody(body).ok).toBe(true);

    // As nobody can make any more, and a file on a disk may still have.
    const huge = group(...Array.from({ length: 20 }, (_, i) => ({ ...member(i + 1, i < 3 ? 'voter' : 'observer'), address: `${i}${'a'.repeat(60_000)}:1` })));
    expect(reason(huge, huge.members.slice(0, 19))).toMatch(/^invalid: the old and the new members together take \d+ bytes, and an entry of the log has 1114112 at most/);
  });

  test('a vote only for who is there and has caught up, unless forced', () => {
    const four = [...three.members, member(4)];
    expect(reason(three, four, except(4, 'silent'))).toMatch(/^unready: nothing is heard of h4:1/);
    expect(reason(three, four, except(4, 'behind'))).toMatch(/^unready: h4:1, which would get a vote, is still behind/);
    expect(reason(three, [member(1), member(2), member(4, 'witness')], except(4, 'ahead'))).toMatch(/^unready: the log of h4:1, which would be a witness, begins behind/);
    expect(reason(three, four, except(4, 'silent'), true)).toBeNull();
    // Nobody could count on such a witness, also not if it has a vote already.
    expect(reason(three, [member(1), member(2), member(4, 'witness')], except(4, 'ahead'), true)).toMatch(/^unready: the log of h4:1/);
    expect(reason(three, [member(1), member(2), member(3, 'witness')], except(3, 'ahead'), true)).toMatch(/^unready: the log of h3:1/);
    expect(reason(three, [member(1), member(2)], except(4, 'silent'), true)).toMatch(/^invalid/);
  });

  test('enough have to be up afterwards; a member that is down may be replaced', () => {
    expect(reason(three, [member(1), member(2), member(9)], except(3, 'silent'))).toBeNull();
    const four = group(...three.members, member(4));
    const down = (id: MemberId): Readiness => (id >= 3 ? 'silent' : 'ready');
    expect(reason(four, [member(2), member(3), member(4)], down)).toMatch(/^unready: only 1 of the 3 members with a vote would be up and caught up; 2 are needed/);
    // A group that stands still helps nobody: also not by force.
    expect(reason(four, [member(2), member(3), member(4)], down, true)).toMatch(/^unready: only 1 of the 3/);
    expect(reason(group(member(1), member(2), member(3)), [...three.members, member(4)], (id) => (id >= 3 ? 'silent' : 'ready'), true)).toMatch(/^unready: only 2 of the 4/);
  });
});

describe('an observer in place of a member that is gone', () => {
  const observed = group(...three.members, member(4, 'observer'), member(5, 'observer'));

  test('the first that has caught up; who is gone becomes an observer', () => {
    const next = promotion(observed, member(2), (id) => (id === 4 ? 'behind' : 'ready'));
    expect(next?.map((m) => `${m.id}:${m.role}`).sort()).toEqual(['1:voter', '2:observer', '3:voter', '4:observer', '5:voter']);
    expect(next === null ? 'none' : reason(observed, [...next], except(2, 'silent'))).toBeNull();
  });

  test('a witness that is gone leaves', () => {
    const witnessed = group(member(1), member(2), member(3, 'witness'), member(4, 'observer'));
    expect(promotion(witnessed, member(3, 'witness'), all)?.map((m) => `${m.id}:${m.role}`)).toEqual(['1:voter', '2:voter', '4:witness']);
  });

  test('none, when none has', () => {
    expect(promotion(observed, member(2), () => 'behind')).toBeNull();
    expect(promotion(three, member(2), all)).toBeNull();
  });
});
