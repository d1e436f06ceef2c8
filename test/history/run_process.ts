/** Runs a group with clients and faults, from within the hub's namespace, writes the history and checks it. Ends with the exit code of the run. */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, writeFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { defined } from '../../lib/assert.ts';
import { Prng } from '../../lib/prng.ts';
import { checkHistory } from './check_history.ts';
import { HistoryClient } from './client.ts';
import { HistoryCluster } from './cluster.ts';
import { headerLine, operationLine, readHistory } from './format.ts';
import { Numbers, objectsAt, periodsOf, readEverything, type LoadSettings } from './load.ts';
import type { FromLoad } from './load_process.ts';
import { Namespaces } from './namespaces.ts';
import { Nemesis, type Fault } from './nemesis.ts';
import type { Operation } from './operations.ts';
import type { RunSettings } from './settings.ts';
import { faultLines, faultsOfTheService, longestStall, operationLines, tooLittle, verdictLines } from './summary.ts';

const PROGRAMS = 3;
/** A connected quorum that does nothing for so long is a fault of the group; on a slow machine elections take a second or two. */
const STALL_SECONDS = 15;

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** The client programs; `stop` resolves when each has said that it is done. */
class Load {
  readonly #children;
  readonly #ended: Promise<void>[];

  constructor(settings: Omit<LoadSettings, 'index' | 'programs' | 'seed'>, prng: Prng, record: (operation: Operation) => void) {
    this.#children = Array.from({ length: PROGRAMS }, (_, index) => {
      const own: LoadSettings = { ...settings, index, programs: PROGRAMS + 1, seed: prng.uint32() };
      return fork(fileURLToPath(new URL('./load_process.js', import.meta.url)), [JSON.stringify(own)]);
    });
    this.#ended = this.#children.map(async (child, index) => {
      let done = false;
      child.on('message', (message: FromLoad) => {
        if (message.type === 'done') done = true;
        else for (const o of message.operations) record(o);
      });
      await once(child, 'exit');
      if (!done) throw new Error(`client program ${index + 1} ended in the midst of the run; its message is above`);
    });
    // Awaited in `stop`; a program that fails earlier is reported there.
    for (const ended of this.#ended) void ended.catch(() => undefined);
  }

  async stop(): Promise<void> {
    for (const child of this.#children) if (child.connected) child.send('stop');
    await Promise.all(this.#ended);
  }
}

interface Recording {
  readonly faults: readonly Fault[];
  /** ns; when the load was asked to stop. */
  readonly end: number;
  /** What else went wrong. */
  readonly failures: readonly string[];
}

async function record(settings: RunSettings, cluster: HistoryCluster, namespaces: Namespaces): Promise<Recording> {
  const prng = new Prng(settings.seed);
  const file = createWriteStream(settings.out);
  file.write(headerLine({ started: new Date().toISOString(), seconds: settings.seconds, replicas: settings.replicas, seed: settings.seed, faults: [...settings.faults] }));
  const write = (o: Operation): void => { file.write(operationLine(o)); };
  const start = process.hrtime.bigint();
  const client = new HistoryClient(start);
  const replicas = cluster.replicas.map((replica) => ({ replica, url: cluster.url(replica) }));
  // The last fault is taken back before the load ends, which may be in a further period.
  const periods = periodsOf(settings.seconds * 1000 + 15_000);
  for (let period = 0; period < periods; period++) {
    for (const object of objectsAt(period)) await client.makeDirectory(defined(replicas[0], 'a replica'), object.startsWith('register/') ? 'register' : object);
  }

  const load = new Load({ urls: cluster.urls, start: String(start), loops: settings.loops }, prng.fork(), write);
  const nemesis = new Nemesis({ cluster, namespaces, durability: settings.durability, now: () => client.now(), log: say }, prng.fork(), settings.faults);
  const seconds = client.now() / 1e9 + settings.seconds;
  await nemesis.run(seconds * 1000);
  await pause(Math.max(0, seconds * 1000 - client.now() / 1e6));
  const end = client.now();
  await load.stop();
  say(`${(client.now() / 1e9).toFixed(3)} s: the load has ended; waiting for all replicas to be normal, then reading everything through each of them`);
  const failures: string[] = [];
  try {
    await cluster.normal();
    await readEverything(client, replicas, periodsOf(client.now() / 1e6), new Numbers(PROGRAMS, PROGRAMS + 1), write);
  } catch (error) {
    // What was seen until then is written and checked all the same: it may say why.
    failures.push(`after all faults were over: ${error instanceof Error ? error.message : String(error)}`);
  }
  await client.close();
  file.end();
  await once(file, 'close');
  writeFileSync(`${settings.out}.faults`, nemesis.faults.map((f) => `${JSON.stringify(f)}\n`).join(''));
  return { faults: nemesis.faults, end, failures: [...cluster.unexpected, ...failures] };
}

/** Prints everything there is to say; true: the run proves that the group behaved. */
function judge(settings: RunSettings, recording: Recording): boolean {
  const { operations } = readHistory(settings.out);
  for (const line of [...operationLines(operations), ...faultLines(operations, recording.faults)]) say(line);
  const stall = longestStall(operations, recording.faults, recording.end);
  const stalled = (stall.to - stall.from) / 1e9;
  say(`longest time with a quorum and without an acknowledged change: ${stalled.toFixed(3)} s, from ${(stall.from / 1e9).toFixed(3)} s on`);
  const started = performance.now();
  const verdict = checkHistory(operations);
  for (const line of verdictLines(verdict)) say(line);
  say(`checked in ${((performance.now() - started) / 1000).toFixed(1)} s; the history is in ${settings.out}, the faults in ${settings.out}.faults`);
  const failures = [...recording.failures, ...faultsOfTheService(operations)];
  if (!verdict.linearizable) failures.push('the history is not linearizable');
  const little = tooLittle(operations, settings.seconds);
  if (little !== null) failures.push(little);
  if (stalled > STALL_SECONDS) failures.push(`a connected quorum did nothing for ${stalled.toFixed(1)} s`);
  for (const kind of settings.faults) if (!recording.faults.some((f) => f.kind === kind)) failures.push(`no ${kind} was injected: the run was too short; give --seconds ${settings.faults.length * 5} or more`);
  for (const failure of failures) say(`FAILED: ${failure}`);
  return failures.length === 0;
}

const settings = JSON.parse(defined(process.argv[2], 'the settings')) as RunSettings;
const namespaces = new Namespaces(settings.owner, settings.replicas);
const cluster = await HistoryCluster.format(settings.directory, namespaces, settings);
try {
  for (const r of cluster.replicas) cluster.start(r);
  await cluster.normal();
  const recording = await record(settings, cluster, namespaces);
  process.exitCode = judge(settings, recording) ? 0 : 1;
} finally {
  await cluster.killAll();
}
