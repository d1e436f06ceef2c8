import { describe, expect, test } from 'vitest';
import { epoch, memberId, type MemberId } from '../../lib/ids.ts';
import { configuration, type Configuration, type Member, type Role } from '../../vr/configuration.ts';
import { MAX_ELECTORS, MAX_MEMBERS, promotion, refusal, type Readiness } from '../../vr/membership.ts';

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
    expect(reason(witnessed, [...three.members])).toMatch(/member 3 is a witness and keeps no state/);
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
    expect(reason(four, [member(2), member(3), member(4)], down)).toMatch(/^unready: only 1 of the 3 members with a vote would be up; 2 are needed/);
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
