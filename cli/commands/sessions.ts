/** `vrfs sessions`: who has a session of the group. */
import type { Command } from 'commander';
import { z } from 'zod';
import { printable } from '../../client/paths.ts';
import type { Member } from '../../vr/configuration.ts';
import { connectionOptions, jsonOption, positiveInteger, type ConnectionOptions } from '../connected.ts';
import { Failed, UsageError } from '../failure.ts';
import { momentText, table } from '../format.ts';
import { membersOf } from '../group_members.ts';
import { note, print, printJson, type Io } from '../io.ts';
import { markReading } from '../reading.ts';
import { getJson, type Answered } from './replica_http.ts';

const Session = z.looseObject({ id: z.number(), name: z.string(), lastActiveMicros: z.number(), holdsOpens: z.boolean(), slots: z.number() });
const Page = z.looseObject({ executed: z.number(), sessions: z.array(Session), cursor: z.string().nullable() });
type Page = z.infer<typeof Page>;

const PAGE = 1024;

interface SessionsOptions extends ConnectionOptions {
  readonly member?: number;
}

export function sessionsCommand(program: Command, io: Io): void {
  const sessions = program.command('sessions').description('who has a session of the group (mounts, programs, replicas for HTTP), as the replica knows it that has executed most')
    .option('-m, --member <id>', 'as this replica knows it', positiveInteger);
  jsonOption(connectionOptions(markReading(sessions))).addHelpText('after', '\nExample:\n  vrfs sessions').action(async (options: SessionsOptions) => {
    const all = await membersOf(options, io);
    // A witness keeps no state.
    const members = all.filter((m) => (options.member === undefined ? m.role !== 'witness' : m.id === options.member));
    if (members.length === 0) throw new UsageError(`the group has no member ${options.member ?? ''}: ${all.map((m) => m.id).join(', ')}`);
    const { member, page } = await mostRecent(members, options.timeout, io);
    const { executed } = page;
    const found = await following(member, page, options.timeout, io);
    if (options.json === true) {
      await printJson(io, { id: member.id, executed, sessions: found });
      return;
    }
    const rows = found.map((s) => [String(s.id), s.name === '' ? '-' : printable(Buffer.from(s.name)), momentText(s.lastActiveMicros / 1000), String(s.slots), s.holdsOpens ? 'files open' : '-']);
    await print(io, table([['ID', 'NAME', 'LAST ACTIVE', 'SLOTS', 'HOLDS'], ...rows]));
    await note(io, `${found.length} sessions, as of operation ${executed}, at replica ${member.id}`);
  });
}

/** The first page of the one that has executed most. */
async function mostRecent(members: readonly Member[], timeoutMs: number, io: Io): Promise<{ member: Member; page: Page }> {
  const answers = await Promise.all(members.map(async (member) => ({ member, answer: await pageOf(member, null, timeoutMs) })));
  const known = answers.flatMap(({ member, answer }) => (answer.ok ? [{ member, page: answer.value }] : []));
  const best = known.sort((a, b) => b.page.executed - a.page.executed)[0];
  if (best !== undefined) return best;
  for (const { member, answer } of answers) if (!answer.ok) await note(io, `replica ${member.id}: ${answer.error}`);
  throw new Failed(`none of ${members.length} replicas has told its sessions`);
}

/** Of all pages. */
async function following(member: Member, first: Page, timeoutMs: number, io: Io): Promise<Page['sessions']> {
  const sessions = [...first.sessions];
  for (let { cursor } = first; cursor !== null;) {
    const next = await pageOf(member, cursor, timeoutMs);
    if (!next.ok) {
      await note(io, `replica ${member.id}: ${next.error}`);
      throw new Failed(next.error);
    }
    sessions.push(...next.value.sessions);
    cursor = next.value.cursor;
  }
  return sessions;
}

function pageOf(member: Member, cursor: string | null, timeoutMs: number): Promise<Answered<Page>> {
  return getJson(member, `/v1/sessions?limit=${PAGE}${cursor === null ? '' : `&cursor=${cursor}`}`, Page, timeoutMs);
}
