/** The group as it is now: status, metrics. Asked of each replica's HTTP API, whose addresses the group's configuration has. */
import type { Command } from 'commander';
import { z } from 'zod';
import type { Member } from '../../vr/configuration.ts';
import { CheckpointStatus, costTable } from '../checkpoint_costs.ts';
import { connectionOptions, jsonOption, positiveInteger, type ConnectionOptions } from '../connected.ts';
import { Failed, UsageError } from '../failure.ts';
import { durationText, sizeText, table } from '../format.ts';
import { membersOf } from '../group_members.ts';
import { note, print, printJson, write, type Io } from '../io.ts';
import { markReading } from '../reading.ts';

/** The part of GET /v1/status that the table shows; --json passes on all of it. */
const Status = z.looseObject({
  healthy: z.boolean(),
  unhealthyReason: z.string().optional(),
  status: z.string(),
  view: z.number(),
  isPrimary: z.boolean(),
  op: z.number(),
  commit: z.number(),
  executed: z.number(),
  transferring: z.boolean(),
  sessions: z.number(),
  durability: z.string(),
  clusterId: z.string(),
  epoch: z.number(),
  version: z.string(),
  /** Null: an earlier version. */
  uptimeMs: z.number().nullable().default(null),
  store: z.looseObject({ waitingForRoom: z.looseObject({ neededBytes: z.number(), freeBytes: z.number() }).nullable().default(null) }),
  checkpoint: z.looseObject({ op: z.number(), root: z.string() }),
  recovery: z.looseObject({
    bytesReceived: z.number(),
    lastTransfer: z.looseObject({ bytesReceived: z.number(), stateBytes: z.number() }).nullable(),
    transfer: z.looseObject({ bytesReceived: z.number(), settled: z.number(), bytesPerSecond: z.number(), etaMs: z.number().nullable() }).nullable().default(null),
  }),
}).and(CheckpointStatus);
type Status = z.infer<typeof Status>;
type Answer = { readonly member: Member; readonly status: Status } | { readonly member: Member; readonly error: string };

export function groupCommands(program: Command, io: Io): void {
  const status = program.command('status').description('each replica: role, since when it runs, view, op-numbers, checkpoint; exit code 1 unless all are healthy');
  status.option('-v, --verbose', 'also each version, epoch and durability, and what checkpoints cost: the last one, and those of the last minutes');
  jsonOption(connectionOptions(status)).addHelpText('after', '\nExample:\n  vrfs status').action(async (options: ConnectionOptions & { verbose?: boolean }) => {
    const answers = await Promise.all((await membersOf(options, io)).map((m) => statusOf(m, options.timeout)));
    if (options.json === true) await printJson(io, answers.map((a) => ({ id: a.member.id, address: a.member.address, httpAddress: a.member.httpAddress, ...('status' in a ? { status: a.status } : { error: a.error }) })));
    else await print(io, statusTable(answers));
    if (options.verbose === true && options.json !== true) {
      const answered = answers.flatMap((a) => ('status' in a ? [{ id: a.member.id, status: a.status }] : []));
      await print(io, `\n${processTable(answered)}\n${costTable(answered)}`);
    }
    for (const a of options.json === true ? [] : answers) {
      const waiting = 'status' in a ? a.status.store.waitingForRoom : null;
      if (waiting !== null) await note(io, `replica ${a.member.id}: a checkpoint waits for room on the disk: ${sizeText(waiting.freeBytes)} are free, ${sizeText(waiting.neededBytes)} are needed`);
    }
    const sick = answers.filter((a) => !('status' in a) || !a.status.healthy);
    for (const a of options.json === true ? [] : sick) await note(io, `replica ${a.member.id}: ${'status' in a ? a.status.unhealthyReason ?? 'not healthy' : a.error}`);
    if (sick.length > 0) throw new Failed(`${sick.length} of ${answers.length} replicas are not healthy`);
  });

  const metrics = program.command('metrics').description('Prometheus metrics of one replica').option('-m, --member <id>', 'which one', positiveInteger, 1);
  connectionOptions(markReading(metrics)).addHelpText('after', '\nExample:\n  vrfs metrics --member 2 | grep ^vrfs_').action(async (options: ConnectionOptions & { member: number }) => {
    const members = await membersOf(options, io);
    const member = members.find((m) => m.id === options.member);
    if (member === undefined) throw new UsageError(`the group has no member ${options.member}: ${members.map((m) => m.id).join(', ')}`);
    const text = await fetchText(member, '/metrics', options.timeout);
    if (!text.ok) {
      await note(io, `vrfs: replica ${member.id}: ${text.error}`);
      throw new Failed(text.error);
    }
    await write(io.stdout, text.body);
  });
}

type Fetched = { readonly ok: true; readonly body: string } | { readonly ok: false; readonly error: string };

async function fetchText(member: Member, path: string, timeoutMs: number): Promise<Fetched> {
  const url = `http://${member.httpAddress}${path}`;
  // It takes longer to load than the rest of a command, whose help needs none of it.
  const { request } = await import('undici');
  try {
    const answer = await request(url, { headersTimeout: timeoutMs, bodyTimeout: timeoutMs, signal: AbortSignal.timeout(timeoutMs) });
    const body = await answer.body.text();
    return answer.statusCode === 200 ? { ok: true, body } : { ok: false, error: `${url} answered ${answer.statusCode}` };
  } catch (error) {
    return { ok: false, error: `${url} does not answer: ${error instanceof Error ? error.message || error.name : String(error)}` };
  }
}

/** Asks its HTTP API. */
export async function statusOf(member: Member, timeoutMs: number): Promise<Answer> {
  const text = await fetchText(member, '/v1/status', timeoutMs);
  if (!text.ok) return { member, error: text.error };
  let json: unknown;
  try {
    json = JSON.parse(text.body);
  } catch (error) {
    return { member, error: `its status is not JSON: ${error instanceof Error ? error.message : String(error)}` };
  }
  const parsed = Status.safeParse(json);
  return parsed.success ? { member, status: parsed.data } : { member, error: `its status is of another version: ${parsed.error.issues[0]?.path.join('.') ?? ''} ${parsed.error.issues[0]?.message ?? ''}` };
}

/** How far a transfer is: `41 %, 12.0 MiB at 8.1 MiB/s, 17 s to go`. */
function underWay(transfer: Status['recovery']['transfer']): string {
  if (transfer === null) return 'begins';
  const { settled, bytesReceived, bytesPerSecond, etaMs } = transfer;
  const eta = etaMs === null ? '' : `, ${Math.ceil(etaMs / 1000)} s to go`;
  return `${Math.floor(settled * 100)} %, ${sizeText(bytesReceived)} at ${sizeText(bytesPerSecond)}/s${eta}`;
}

/** What it does at this moment, or else what it is in the group. */
export function shownRole(role: Member['role'], { status, isPrimary }: Pick<Status, 'status' | 'isPrimary'>): string {
  if (status !== 'normal') return status;
  if (isPrimary) return 'primary';
  return role === 'voter' ? 'backup' : role;
}

function statusTable(answers: readonly Answer[]): string {
  const rows = answers.map((a) => {
    const head = [String(a.member.id), a.member.address];
    if (!('status' in a)) return [...head, 'no answer', '', '', '', '', '', '', ''];
    const s = a.status;
    const checkpoint = a.member.role === 'witness' ? '-' : `${s.checkpoint.op} ${s.checkpoint.root.slice(0, 12)}`;
    const transfer = s.recovery.lastTransfer;
    const fetched = s.transferring ? underWay(s.recovery.transfer) : transfer === null ? '-' : `${sizeText(transfer.bytesReceived)} of ${sizeText(transfer.stateBytes)}`;
    const up = s.uptimeMs === null ? '-' : durationText(s.uptimeMs);
    return [...head, shownRole(a.member.role, s), up, String(s.view), String(s.op), String(s.commit), String(s.executed), checkpoint, fetched];
  });
  return table([['ID', 'ADDRESS', 'ROLE', 'UP', 'VIEW', 'OP', 'COMMIT', 'EXECUTED', 'CHECKPOINT', 'FETCHED'], ...rows]);
}

/** What runs as which replica. */
function processTable(answered: readonly { readonly id: number; readonly status: Status }[]): string {
  const rows = answered.map(({ id, status: { version, epoch, durability, clusterId } }) => [String(id), version, String(epoch), durability, clusterId]);
  return table([['ID', 'VERSION', 'EPOCH', 'DURABILITY', 'GROUP'], ...rows]);
}
