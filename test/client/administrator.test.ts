import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Administrator } from '../../client/administrator.ts';
import { ChangeRefused, NoAnswer } from '../../client/administrator_errors.ts';
import { OutcomeUnknown } from '../../client/errors.ts';
import { introduce } from '../../client/line.ts';
import { defined } from '../../lib/assert.ts';
import { epoch, memberId, view } from '../../lib/ids.ts';
import { configuration, type Member } from '../../vr/configuration.ts';
import { Administered } from './administered.ts';
import type { FakeGroup } from './fake_group.ts';

let own: Administered;
const started: FakeGroup[] = [];
const observer: Member = { id: memberId(77), role: 'observer', address: '127.0.0.1:11', httpAddress: '127.0.0.1:12' };

async function another(size: number): Promise<Administered> {
  const made = await Administered.start(size);
  started.push(made.group);
  return made;
}
beforeEach(async () => { own = await another(3); });
afterEach(async () => {
  for (const group of started.splice(0)) await group.stop();
});

async function failing(act: Promise<unknown>): Promise<Error> {
  const error: unknown = await act.then(() => null, (e: unknown) => e);
  if (!(error instanceof Error)) throw new Error('it did not fail');
  return error;
}

describe('an administrator', () => {
  it('follows the primary, and changes the members', async () => {
    own.group.view = 2;
    const administrator = new Administrator([defined(own.group.servers[0], 'server')], 10_000);
    expect(await administrator.current()).toMatchObject({ type: 'newEpoch', view: 2, complete: true });
    expect(administrator.clusterId).toEqual(own.group.clusterId);
    const now = await administrator.reconfigure(epoch(0), [...own.members, observer], false);
    expect(now.configuration).toMatchObject({ epoch: 1 });
    expect(now.configuration.members).toHaveLength(4);
  });

  it('passes on why the group will not have it', async () => {
    const administrator = new Administrator(own.group.servers, 10_000);
    const refused = await failing(administrator.reconfigure(epoch(0), own.members.slice(0, 2), false));
    expect(refused).toBeInstanceOf(ChangeRefused);
    expect(refused).toMatchObject({ code: 'invalid', message: expect.stringMatching(/2 members with a vote/) as string });
  });

  it('changes no other group when the address of a member is another group\'s by now', async () => {
    // Of three members one is left, which takes the first for the primary; there another group lives.
    const foreign = await another(3);
    foreign.group.clusterId = Buffer.alloc(16, 9);
    const stale = defined(foreign.group.servers[foreign.group.primary], 'address');
    const left = defined(own.members[0], 'the one that is left');
    const gone = { ...left, id: memberId(8), address: '127.0.0.1:1' };
    own.group.configuration = configuration(epoch(0), [{ ...left, id: memberId(9), address: stale }, gone, left], 'disk');
    own.group.view = own.members.findIndex((m) => m.address === stale);
    const administrator = new Administrator([left.address], 1500);
    for (const attempt of [() => administrator.current(), () => new Administrator([left.address], 1500).reconfigure(epoch(0), [...foreign.members, observer], true)]) {
      const error = await failing(attempt());
      expect(error).toBeInstanceOf(NoAnswer);
      expect(error.message).toMatch(new RegExp(`${stale} does not answer \\(this replica belongs to group 0909`));
    }
    expect(foreign.asked).toEqual([]);
    expect(foreign.group.configuration.epoch).toBe(0);
  });

  it('stays with the group that answered first, whatever the list names', async () => {
    const foreign = await another(1);
    foreign.group.clusterId = Buffer.alloc(16, 9);
    const administrator = new Administrator([...own.group.servers, ...foreign.group.servers], 2000);
    await administrator.current();
    for (let i = 0; i < own.group.servers.length; i++) await own.group.kill(i);
    const error = await failing(administrator.reconfigure(epoch(0), [observer], true));
    expect(error).toBeInstanceOf(NoAnswer);
    expect(foreign.asked).toEqual([]);
  });

  it('says whom it asked and what they said when there is no primary', async () => {
    const { servers, primary } = own.group;
    const mute = (primary + 1) % 3;
    const [a, b, c] = [servers[primary], servers[mute], servers[(primary + 2) % 3]];
    await own.group.kill(primary);
    own.before = (member, m) => (m.type === 'checkEpoch' && member === mute ? null : undefined);
    const error = await failing(new Administrator(own.group.servers, 2500).current());
    expect(error).toBeInstanceOf(NoAnswer);
    expect(error.message).toMatch(/^not within the time that was given \(--timeout\): no primary answers: /);
    expect(error.message).toMatch(new RegExp(`${a} does not answer \\(connect ECONNREFUSED`));
    expect(error.message).toContain(`${b} is there, and did not answer in time`);
    expect(error.message).toContain(`${c} says that ${a} is the primary`);
  });

  it('says what it was told, also when the time ends in the midst of the next question', async () => {
    const one = (await another(1)).group;
    let hellos = 0;
    one.intercept = (_, m) => {
      if (m.type === 'hello') return ++hellos === 1 ? undefined : null;
      return m.type === 'checkEpoch' ? { type: 'redirect', view: view(0), configuration: one.configuration } : undefined;
    };
    const error = await failing(new Administrator(one.servers, 400).current());
    expect(hellos).toBe(2);
    expect(error.message).toMatch(/ is the primary of a view that has not begun/);
  });

  it('does not say that nothing was changed when a change was asked for and the answer was lost', async () => {
    own.before = (_, m) => (m.type === 'reconfigure' ? null : undefined);
    const administrator = new Administrator(own.group.servers, 1500);
    await administrator.current();
    const error = await failing(administrator.reconfigure(epoch(0), [...own.members, observer], false));
    expect(error).toBeInstanceOf(OutcomeUnknown);
    expect(error.message).toMatch(/Whether the change was made is not known/);
  });
});

describe('an answer that comes after the end of the time', () => {
  const TIMEOUT_MS = 200;

  it('is heard: a change that the group has made, or refuses, is not called unknown', async () => {
    // The group holds everything up until the time is over.
    const hold = (): undefined => {
      for (const end = performance.now() + TIMEOUT_MS; performance.now() < end;);
      return undefined;
    };
    own.before = (member, m) => (m.type === 'reconfigure' && member === own.group.primary ? hold() : undefined);
    const refused = new Administrator(own.group.servers, TIMEOUT_MS);
    await refused.current();
    expect(await failing(refused.reconfigure(epoch(0), own.members.slice(0, 2), false))).toMatchObject({ name: 'ChangeRefused', code: 'invalid' });
    const made = new Administrator(own.group.servers, TIMEOUT_MS);
    await made.current();
    expect((await made.reconfigure(epoch(0), [...own.members, observer], false)).configuration.epoch).toBe(1);
  });
});

describe('an introduction', () => {
  it('says who is there, and why nobody is', async () => {
    expect(await introduce(defined(own.group.servers[1], 'server'), 3000)).toMatchObject({ type: 'welcome', self: 2, address: own.group.servers[1] });
    expect((await failing(introduce('127.0.0.1:1', 3000))).message).toMatch(/^127\.0\.0\.1:1 does not answer: connect ECONNREFUSED/);
    expect((await failing(introduce('foo', 3000))).message).toMatch(/^"foo" is not an address/);
  });
});
