/** `vrfs scrub`: whether the replicas' stores are as they were written. */
import { setTimeout as pause } from 'node:timers/promises';
import type { Command } from 'commander';
import { z } from 'zod';
import type { Member } from '../../vr/configuration.ts';
import { connectionOptions, jsonOption, positiveInteger, type ConnectionOptions } from '../connected.ts';
import { Failed, UsageError } from '../failure.ts';
import { momentText, sizeText, table } from '../format.ts';
import { membersOf } from '../group_members.ts';
import { note, print, printJson, type Io } from '../io.ts';
import { getJson, postJson, type Answered } from './replica_http.ts';

const Pass = z.looseObject({
  number: z.number(), asked: z.boolean(), startedAt: z.number(), endedAt: z.number().nullable(), end: z.string(), progress: z.number(),
  tables: z.number(), tableBytes: z.number(), direct: z.boolean(), rewrittenTables: z.number(), unwrittenTables: z.number().default(0),
  pages: z.number(), records: z.number(), bytes: z.number(), damage: z.string().nullable(), error: z.string().nullable().default(null),
});
type Pass = z.infer<typeof Pass>;
const Scrub = z.looseObject({
  rate: z.number(), state: z.string(), pass: Pass.nullable(), last: Pass.nullable(), lastCompleteAt: z.number().nullable(), passes: z.number(),
  damages: z.number(), rewrittenTables: z.number(), unwrittenTables: z.number().default(0), failures: z.number().default(0), lastDamage: z.looseObject({ at: z.number(), damage: z.string() }).nullable(),
});
const Status = z.looseObject({ pid: z.number(), scrub: Scrub });
type Status = z.infer<typeof Status>;
const Begun = z.looseObject({ pass: z.number() });

interface ScrubOptions extends ConnectionOptions {
  readonly now?: boolean;
  readonly member?: number;
  readonly rate?: number;
}

const POLL_MS = 200;
/** A replica that repairs itself does not answer for a moment. */
const SILENCE_MS = 60_000;

export function scrubCommand(program: Command, io: Io): void {
  const scrub = program.command('scrub').description('whether the replicas\' stores are as they were written: what is read again in the background, and what it found; exit code 1 when it found damage')
    .option('--now', 'read everything now, and wait for the result')
    .option('-m, --member <id>', 'of this replica alone', positiveInteger)
    .option('--rate <bytes>', 'with --now: bytes a second of each replica', positiveInteger);
  jsonOption(connectionOptions(scrub)).addHelpText('after', '\nExample:\n  vrfs scrub --now').action(async (options: ScrubOptions) => {
    if (options.rate !== undefined && options.now !== true) throw new UsageError('--rate goes with --now; the rate in the background is the key scrubRate of each replica (vrfs serve --scrub-rate)');
    const all = await membersOf(options, io);
    // A witness keeps no state.
    const members = all.filter((m) => (options.member === undefined ? m.role !== 'witness' : m.id === options.member));
    if (members.length === 0) throw new UsageError(`the group has no member ${options.member ?? ''}: ${all.map((m) => m.id).join(', ')}`);
    await (options.now === true ? scrubNow(members, options, io) : show(members, options, io));
  });
}

async function show(members: readonly Member[], options: ScrubOptions, io: Io): Promise<void> {
  const answers = await Promise.all(members.map(async (member) => ({ member, answer: await statusOf(member, options.timeout) })));
  if (options.json === true) {
    await printJson(io, answers.map(({ member, answer }) => ({ id: member.id, address: member.address, ...(answer.ok ? { scrub: answer.value.scrub } : { error: answer.error }) })));
  } else {
    await print(io, table([['ID', 'ADDRESS', 'STATE', 'RATE', 'PASSES', 'LAST COMPLETE', 'DAMAGE'], ...answers.map(({ member, answer }) => rowOf(member, answer))]));
    for (const { member, answer } of answers) for (const line of notesOn(answer)) await note(io, `replica ${member.id}: ${line}`);
  }
  const bad = answers.filter(({ answer }) => !answer.ok || answer.value.scrub.lastDamage !== null || answer.value.scrub.rewrittenTables > 0 || notesOn(answer).length > 0).length;
  if (bad > 0) throw new Failed(`${bad} of ${answers.length} replicas found damage, could not read everything, or did not answer`);
}

/** What stands in the way of knowing that the store is as it was written. */
function notesOn(answer: Answered<Status>): string[] {
  if (!answer.ok) return [answer.error];
  const { unwrittenTables, failures, last } = answer.value.scrub;
  const lines: string[] = [];
  if (unwrittenTables > 0) lines.push(`${unwrittenTables} tables have rotted on the disk and are whole in memory alone, since it does not take them again: make room or replace it`);
  if (failures > 0) lines.push(`the last scrubs were broken off (${failures} in a row): ${last?.error ?? 'see its log'}`);
  return lines;
}

function rowOf(member: Member, answer: Answered<Status>): string[] {
  if (!answer.ok) return [String(member.id), member.address, 'no answer', '', '', '', ''];
  const s = answer.value.scrub;
  const state = s.pass === null ? s.state : `${s.state}, ${percent(s.pass)} %`;
  const damage = s.lastDamage === null ? '-' : `${momentText(s.lastDamage.at)} ${s.lastDamage.damage}`;
  return [String(member.id), member.address, state, s.rate === 0 ? '-' : `${sizeText(s.rate)}/s`, String(s.passes), s.lastCompleteAt === null ? 'never' : momentText(s.lastCompleteAt), damage];
}

interface Result {
  readonly member: Member;
  readonly pass: Pass | null;
  readonly error: string | null;
}

async function scrubNow(members: readonly Member[], options: ScrubOptions, io: Io): Promise<void> {
  const progress = new Progress(io, options.json === true);
  const results = await Promise.all(members.map((member) => scrubOne(member, options, progress)));
  await progress.end();
  if (options.json === true) await printJson(io, results.map((r) => ({ id: r.member.id, address: r.member.address, pass: r.pass, error: r.error })));
  else for (const result of results) await print(io, resultText(result));
  const bad = results.filter((r) => r.error !== null || r.pass?.end !== 'complete' || r.pass.rewrittenTables > 0 || r.pass.unwrittenTables > 0).length;
  if (bad > 0) throw new Failed(`${bad} of ${results.length} replicas found damage or did not finish`);
}

async function scrubOne(member: Member, options: ScrubOptions, progress: Progress): Promise<Result> {
  const before = await statusOf(member, options.timeout);
  if (!before.ok) return { member, pass: null, error: before.error };
  const begun = await postJson(member, '/v1/scrub', options.rate === undefined ? {} : { rate: options.rate }, Begun, options.timeout);
  if (!begun.ok) return { member, pass: null, error: begun.error };
  const { pass: number } = begun.value;
  let answeredAt = performance.now();
  for (;;) {
    const answer = await statusOf(member, options.timeout);
    if (answer.ok) {
      answeredAt = performance.now();
      const { pass, last } = answer.value.scrub;
      if (answer.value.pid !== before.value.pid) return { member, pass: null, error: 'its process has begun anew meanwhile: ask again' };
      if (last !== null && last.number === number) return { member, pass: last, error: null };
      if ((last?.number ?? 0) > number || (pass?.number ?? 0) > number) return { member, pass: null, error: 'another scrub was asked for meanwhile' };
      if (pass !== null && pass.number === number) await progress.show(member, pass);
    } else if (performance.now() - answeredAt > SILENCE_MS) {
      return { member, pass: null, error: answer.error };
    }
    await pause(POLL_MS);
  }
}

function statusOf(member: Member, timeoutMs: number): Promise<Answered<Status>> {
  return getJson(member, '/v1/status', Status, timeoutMs);
}

function resultText({ member, pass, error }: Result): string {
  const who = `replica ${member.id} (${member.address})`;
  if (pass === null) return `${who}: ${error ?? 'no result'}`;
  const seconds = ((pass.endedAt ?? pass.startedAt) - pass.startedAt) / 1000;
  const read = `${pass.records} records in ${pass.pages} pages (${sizeText(pass.bytes)}) and ${pass.tables} tables (${sizeText(pass.tableBytes)}${pass.direct ? '' : ', through the page cache'}) in ${seconds.toFixed(1)} s`;
  if (pass.end === 'damage') return `${who}: DAMAGED: ${pass.damage ?? ''}. It is repaired from the others by itself; check the disk`;
  if (pass.end !== 'complete') return `${who}: ${pass.end} after ${read}${pass.error === null ? '' : `: ${pass.error}`}`;
  if (pass.unwrittenTables > 0) return `${who}: ${pass.unwrittenTables} tables have rotted on the disk and are whole in memory alone, since it does not take them again; make room or replace it (the replica's log says more). Read: ${read}`;
  if (pass.rewrittenTables > 0) return `${who}: ${pass.rewrittenTables} tables had rotted on the disk and were written again from memory; check the disk. Read: ${read}`;
  return `${who}: no damage: ${read}`;
}

function percent(pass: Pass): number {
  return Math.floor(pass.progress * 100);
}

/** One line on standard error, written over where that is a terminal. */
class Progress {
  readonly #io: Io;
  readonly #silent: boolean;
  readonly #percents = new Map<number, number>();
  #shown = '';

  constructor(io: Io, silent: boolean) {
    this.#io = io;
    this.#silent = silent;
  }

  async show(member: Member, pass: Pass): Promise<void> {
    this.#percents.set(member.id, percent(pass));
    const line = [...this.#percents].sort(([a], [b]) => a - b).map(([id, done]) => `replica ${id}: ${done} %`).join('  ');
    if (this.#silent || line === this.#shown) return;
    const isTerminal = 'isTTY' in this.#io.stderr && this.#io.stderr.isTTY === true;
    this.#shown = line;
    if (isTerminal) this.#io.stderr.write(`\r${line}\u001b[K`);
    else await note(this.#io, line);
  }

  async end(): Promise<void> {
    if (!this.#silent && this.#shown !== '' && 'isTTY' in this.#io.stderr && this.#io.stderr.isTTY === true) await note(this.#io, '');
  }
}
