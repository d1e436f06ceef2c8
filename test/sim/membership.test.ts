import { describe, expect, it } from 'vitest';
import { epoch, memberId } from '../../lib/ids.ts';
import { configuration, type Configuration, type Role } from '../../vr/configuration.ts';
import { Membership, type Certainty } from './membership.ts';

function of(at: number, members: Readonly<Record<number, Role>>): Configuration {
  return configuration(epoch(at), Object.entries(members).map(([id, role]) => ({ id: memberId(Number(id)), role, address: `r${id}:1`, httpAddress: `r${id}:2` })), 'disk');
}
const THREE = of(0, { 1: 'voter', 2: 'voter', 3: 'voter' });
const REPLACED = of(1, { 1: 'voter', 2: 'voter', 4: 'voter' });

function without(...ids: readonly number[]): Certainty {
  return { uncertain: (id) => ids.includes(id) };
}

describe('what a group may lose', () => {
  it('is f of its electors, and never the last voter', () => {
    const m = new Membership(THREE);
    expect([m.mayLose(1, without()), m.mayLose(1, without(1)), m.mayLose(1, without(2))]).toEqual([true, true, false]);
    const witnesses = new Membership(of(0, { 1: 'voter', 2: 'witness', 3: 'witness', 4: 'observer' }));
    expect([witnesses.mayLose(1, without()), witnesses.mayLose(2, without()), witnesses.mayLose(4, without(2))]).toEqual([false, true, true]);
  });

  it('is counted in the old and in the new configuration while a change is under way', () => {
    const m = new Membership(THREE);
    m.proposed(REPLACED);
    expect(m.isSettled).toBe(false);
    // Member 4 has nothing yet: the new group could stand no other loss.
    expect([m.mayLose(1, without(4)), m.mayLose(3, without(4)), m.mayLose(3, without(1))]).toEqual([false, true, false]);
    m.begun(REPLACED);
    expect(m.isComplete).toBe(false);
    expect(m.mayLose(3, without(1))).toBe(false);
    for (const id of [1, 4]) m.started(id, 1);
    expect([m.isComplete, m.isSettled, m.isFormer(3), m.isFormer(4), m.known(3), m.known(5)]).toEqual([true, true, true, false, true, false]);
    expect(m.mayLose(3, without(1))).toBe(true);
  });
});

describe('a group that promotes by itself', () => {
  it('may go on with any observer in the place of any elector, and stands what that stands', () => {
    const start = of(0, { 1: 'voter', 2: 'voter', 3: 'voter', 4: 'observer' });
    const m = new Membership(start, true);
    // With member 4 for member 1, the loss of 4 and 2 would be too much.
    expect([m.mayLose(4, without()), m.mayLose(4, without(2)), new Membership(start).mayLose(4, without(2))]).toEqual([true, false, true]);
    m.begun(of(1, { 1: 'observer', 2: 'voter', 3: 'voter', 4: 'voter' }));
    expect(m.promotions).toBe(1);
  });
});

describe('epochs', () => {
  it('have one configuration, and follow each other one by one', () => {
    const m = new Membership(THREE);
    m.begun(THREE);
    expect(() => m.begun(REPLACED)).toThrow(/were asked for/);
    m.proposed(REPLACED);
    m.begun(REPLACED);
    expect(() => m.begun(of(1, { 1: 'voter', 2: 'voter', 5: 'voter' }))).toThrow(/one configuration an epoch/);
    m.proposed(of(2, { 1: 'voter', 2: 'voter', 5: 'voter' }));
    expect(() => m.begun(of(2, { 1: 'voter', 2: 'voter', 5: 'voter' }))).toThrow(/one change at a time/);
    for (const id of [1, 2]) m.started(id, 1);
    m.proposed(of(2, { 1: 'voter', 2: 'voter', 5: 'voter' }));
    expect(() => m.begun(of(3, { 1: 'voter', 2: 'voter', 5: 'voter' }))).toThrow(/follow each other/);
    m.begun(of(2, { 1: 'voter', 2: 'voter', 5: 'voter' }));
    expect(m.present.epoch).toBe(2);
  });
});
