/** `vrfs checkpoint`: which checkpoints the replicas hold, taking one, and holding on to it. checkpoint_diff.ts compares two, checkpoint_interval.ts says how often they are taken. */
import { setTimeout as pause } from 'node:timers/promises';
import { InvalidArgumentError, type Command } from 'commander';
import { z } from 'zod';
import type { VrfsClient } from '../../client/client.ts';
import { KEEP_MAX_S } from '../../server/running_replica.ts';
import { quorum, type Configuration, type Member } from '../../vr/configuration.ts';
import { connectionOptions, jsonOption, positiveInteger, withClient, type ConnectionOptions } from '../connected.ts';
import { listByDefault } from '../default_list.ts';
import { Failed } from '../failure.ts';
import { sizeText, table } from '../format.ts';
import { newestConfiguration } from '../group_members.ts';
import { note, print, printJson, type Io } from '../io.ts';
import { checkpointDiffCommand } from './checkpoint_diff.ts';
import { checkpointIntervalCommand } from './checkpoint_interval.ts';
import { checkpointsOf, keepers } from './checkpoint_lists.ts';
import { getJson, postJson } from './replica_http.ts';

const Kept = z.looseObject({ op: z.number(), seconds: z.number() });
const Progress = z.looseObject({ executed: z.number(), checkpointing: z.boolean() });

/** What is too long for POST /v1/checkpoints/keep is refused here: a checkpoint is not taken for it first. */
function keepSeconds(text: string): number {
  const n = positiveInteger(text);
  if (n > KEEP_MAX_S) throw new InvalidArgumentError(`at most ${KEEP_MAX_S} seconds (seven days)`);
  return n;
}

interface TakeOptions extends ConnectionOptions {
  readonly keep?: number;
}

export function checkpointCommands(program: Command, io: Io): void {
  const checkpoint = program.command('checkpoint').description('checkpoints of the state: which there are, taking one, what differs between two, and how often they are taken');
  const list = listByDefault(checkpoint, 'of each replica those that can be read (by transfers, proofs and diff), newest first');
  jsonOption(connectionOptions(list)).addHelpText('after', '\nExample:\n  vrfs checkpoint list').action(async (options: ConnectionOptions) => {
    await show(keepers(await newestConfiguration(options, io)), options, io);
  });
  const take = checkpoint.command('take').description('every replica takes one now, at the same operation; exit code 1 unless a quorum has it with the same root')
    .option('--keep <seconds>', 'hold on to it for so long, to compare it with a later one (vrfs checkpoint diff): up to four at a replica, for seven days at most, not beyond its restart', keepSeconds);
  jsonOption(connectionOptions(take)).addHelpText('after', '\nExamples:\n  vrfs checkpoint take\n  vrfs checkpoint take --keep 3600').action(async (options: TakeOptions) => {
    const configuration = await newestConfiguration(options, io);
    await withClient(options, io, (client) => new Taking(client, configuration, options, io).run());
  });
  checkpointDiffCommand(checkpoint, io);
  checkpointIntervalCommand(checkpoint, io);
}

function timeText(micros: number): string {
  return micros === 0 ? '-' : new Date(micros / 1000).toISOString();
}

async function show(members: readonly Member[], options: ConnectionOptions, io: Io): Promise<void> {
  const answers = await Promise.all(members.map(async (member) => ({ member, answer: await checkpointsOf(member, options.timeout) })));
  const silent = answers.filter(({ answer }) => !answer.ok).length;
  if (options.json === true) {
    await printJson(io, answers.map(({ member, answer }) => ({ id: member.id, address: member.address, ...(answer.ok ? { held: answer.value.held, known: answer.value.known } : { error: answer.error }) })));
  } else {
    const rows = answers.flatMap(({ member, answer }) => {
      if (!answer.ok) return [[String(member.id), member.address, 'no answer', '', '', '', '', '']];
      return answer.value.held.map((c) => [String(member.id), member.address, String(c.op), c.root.slice(0, 12), String(c.records), sizeText(c.bytes), timeText(c.timeMicros), c.readers === 0 ? '-' : String(c.readers), c.keptMs === 0 ? '-' : `${Math.ceil(c.keptMs / 1000)} s`]);
    });
    await print(io, table([['ID', 'ADDRESS', 'OP', 'ROOT', 'RECORDS', 'BYTES', 'TIME', 'READERS', 'KEPT'], ...rows]));
    for (const { member, answer } of answers) if (!answer.ok) await note(io, `replica ${member.id}: ${answer.error}`);
  }
  if (silent > 0) throw new Failed(`${silent} of ${answers.length} replicas did not answer`);
}

/** What became of it at one replica. */
type Fate = { readonly kind: 'taken'; readonly root: string } | { readonly kind: 'left out' } | { readonly kind: 'unknown'; readonly error: string };

interface MemberFate {
  readonly member: Member;
  readonly fate: Fate;
}

const ATTEMPTS = 5;
const POLL_MS = 50;

class Taking {
  readonly #client: VrfsClient;
  readonly #configuration: Configuration;
  readonly #options: TakeOptions;
  readonly #io: Io;
  readonly #deadline: number;

  constructor(client: VrfsClient, configuration: Configuration, options: TakeOptions, io: Io) {
    this.#client = client;
    this.#configuration = configuration;
    this.#options = options;
    this.#io = io;
    this.#deadline = performance.now() + options.timeout;
  }

  async run(): Promise<void> {
    const members = keepers(this.#configuration);
    for (let attempt = 1; ; attempt++) {
      const result = await this.#client.submit({ credentials: { uid: 0, gid: 0, groups: [] }, operation: { type: 'checkpoint' } });
      if (!result.ok) {
        await note(this.#io, `the group refuses it: error ${result.errno}`);
        throw new Failed('refused');
      }
      const { op } = result.value;
      const fates = await Promise.all(members.map(async (member) => ({ member, fate: await this.#fateAt(member, op) })));
      // A replica whose one before was not durable yet may have the next.
      if (attempt < ATTEMPTS && fates.some(({ fate }) => fate.kind === 'left out') && performance.now() < this.#deadline) continue;
      const keptAt = await this.#keep(op, fates);
      return this.#tell(op, fates, keptAt);
    }
  }

  async #fateAt(member: Member, op: number): Promise<Fate> {
    for (;;) {
      const progress = await getJson(member, '/v1/status', Progress, this.#options.timeout);
      const list = await checkpointsOf(member, this.#options.timeout);
      if (list.ok) {
        const found = [...list.value.held, ...list.value.known].find((c) => c.op === op);
        if (found !== undefined) return { kind: 'taken', root: found.root };
      }
      // It has passed that op, and was writing nothing, before it was asked what it has.
      if (progress.ok && list.ok && progress.value.executed >= op && !progress.value.checkpointing) return { kind: 'left out' };
      if (performance.now() >= this.#deadline) return { kind: 'unknown', error: list.ok ? 'it has not come so far' : list.error };
      await pause(POLL_MS);
    }
  }

  /** Null: nobody was asked to. */
  async #keep(op: number, fates: readonly MemberFate[]): Promise<readonly number[] | null> {
    const { keep, timeout } = this.#options;
    if (keep === undefined) return null;
    const answers = await Promise.all(fates.flatMap(({ member, fate }) => (fate.kind !== 'taken' ? [] : [postJson(member, '/v1/checkpoints/keep', { op, seconds: keep }, Kept, timeout).then((answer) => ({ member, answer }))])));
    for (const { member, answer } of answers) if (!answer.ok) await note(this.#io, `replica ${member.id} does not hold on to it: ${answer.error}`);
    return answers.flatMap(({ member, answer }) => (answer.ok ? [member.id] : []));
  }

  async #tell(op: number, fates: readonly MemberFate[], keptAt: readonly number[] | null): Promise<void> {
    const needed = quorum(this.#configuration);
    const roots = new Map<string, number[]>();
    for (const { member, fate } of fates) if (fate.kind === 'taken') roots.set(fate.root, [...(roots.get(fate.root) ?? []), member.id]);
    const [best] = [...roots].sort((a, b) => b[1].length - a[1].length);
    if (this.#options.json === true) {
      await printJson(this.#io, { op, root: best?.[0] ?? null, keptAt, replicas: fates.map(({ member, fate }) => ({ id: member.id, address: member.address, ...fate })) });
    } else {
      await print(this.#io, best === undefined ? `op ${op}: no replica has a checkpoint there` : `checkpoint of op ${op}, root ${best[0]}, at replicas ${best[1].join(', ')}${keptAt === null ? '' : `, kept for ${this.#options.keep ?? 0} s at ${keptAt.join(', ') || 'none'}`}`);
      for (const { member, fate } of fates) {
        if (fate.kind === 'left out') await note(this.#io, `replica ${member.id} has left it out: the one before was not durable yet`);
        else if (fate.kind === 'unknown') await note(this.#io, `replica ${member.id}: ${fate.error}`);
        else if (fate.root !== best?.[0]) await note(this.#io, `replica ${member.id} has ANOTHER ROOT: ${fate.root}`);
      }
    }
    const voters = new Set(keepers(this.#configuration).filter((m) => m.role === 'voter').map((m) => m.id as number));
    const agreed = best?.[1].filter((id) => voters.has(id)).length ?? 0;
    if (agreed < needed || roots.size > 1) throw new Failed(`${agreed} members have it with the same root, ${needed} are a quorum`);
    if (keptAt?.length === 0) throw new Failed('no replica holds on to it');
  }
}
