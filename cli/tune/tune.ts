/**
 * The sweep: each interval once, then each again, and so on, so that what changes on the machine meanwhile (its temperature, its neighbours) does
 * not favour one of them. Ends by itself, or by SIGINT or SIGTERM, and leaves no process and no directory of its own behind either way.
 */
import { access, constants, mkdtemp, readdir, rmdir, statfs, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { defined } from '../../lib/assert.ts';
import { makeDirectories } from '../../lib/make_directories.ts';
import { EnvironmentError, Failed } from '../failure.ts';
import { interruptible, type Interruption } from '../interruptible.ts';
import { note, print, printJson, type Io } from '../io.ts';
import { onTheDiskOf } from '../local_disk.ts';
import { pointOf, type RunFigures } from './figures.ts';
import { pageHtml } from './page.ts';
import { Progress } from './progress.ts';
import { plotsOf, recommendationText, reportJson, reportOf, severalSizes, tableText, type TuneReport } from './report.ts';
import { RECOVERY_BOUND_S, run, type RunContext } from './run.ts';
import { outcomeText, setRecommended, type Outcome, type Target } from './setting.ts';
import { intervalText, type TuneSettings } from './settings.ts';

export interface TuneRequest {
  readonly settings: TuneSettings;
  /** Where the results go. */
  readonly out: string;
  /** Where the directories of the groups are made. */
  readonly parent: string;
  readonly json: boolean;
  readonly main: string;
  /** The running group that is to have what is recommended, anew for each question: its time-out is not one for the measuring. Null: it is only said. */
  readonly target: (() => Target) | null;
}

/** One run; replaced in tests. */
export type RunOne = typeof run;

const RESULT = 'tune.json';
/** Of statfs(2): TMPFS_MAGIC. */
const TMPFS = 0x0102_1994;

export async function tune(request: TuneRequest, io: Io, runOne: RunOne = run): Promise<void> {
  const out = resolve(io.cwd, request.out);
  const parent = resolve(io.cwd, request.parent);
  await checkDirectories(out, parent);
  if (request.settings.durability === 'disk' && (await statfs(parent)).type === TMPFS) await note(io, `${parent} is in memory (tmpfs): what a disk costs is not measured there; give a directory on one: --data <directory>`);
  // Before minutes have gone by: whether it answers at all.
  const before = await request.target?.().interval();
  const report = await interruptible(INTERRUPTION, (signal) => sweep({ ...request, parent }, io, signal, runOne));
  // What was measured is said, whatever becomes of the rest: minutes have gone into it.
  if (!request.json) await print(io, `${tableText(report)}\n\n${recommendationText(report)}\n`);
  let outcome: Outcome | null = null;
  try {
    const files = await onTheDiskOf(out, () => writeReport(report, out));
    if (!request.json) await print(io, files.map((file) => join(out, file)).join('\n'));
    if (request.target !== null && before !== undefined) outcome = await setRecommended(report, before, request.target());
  } finally {
    if (request.json) await printJson(io, { ...reportJson(report), ...(outcome === null ? {} : { outcome }) });
  }
  if (outcome !== null) await sayOutcome(outcome, request.json, io);
}

const INTERRUPTION: Interruption = {
  signals: ['SIGINT', 'SIGTERM', 'SIGHUP'],
  message: 'interrupted; the replicas have been ended, and no results were written',
  again: 'nothing',
};

async function sayOutcome(outcome: Outcome, json: boolean, io: Io): Promise<void> {
  const text = outcomeText(outcome);
  if (outcome.set && !json) await print(io, `\n${text}`);
  if (outcome.set) return;
  await note(io, text);
  throw new Failed(text);
}

/** Before minutes have gone by. */
async function checkDirectories(out: string, parent: string): Promise<void> {
  const found = await names(out, 'the results', '--out');
  if (found !== null && found.length > 0 && !found.includes(RESULT)) throw new EnvironmentError(`${out} holds other files (${found.slice(0, 3).join(', ')})`, 'give a new or an empty directory: --out <directory>');
  if ((await names(parent, 'the groups', '--data')) === null) throw new EnvironmentError(`${parent} is not there`, 'give a directory on the disk that is to be measured: --data <directory>');
  await cannotBe(out, 'the results', '--out', async () => {
    makeDirectories(out);
    await access(out, constants.W_OK);
  });
  // As the groups are made: /proc, for one, may be written to by what access(2) says, and takes no directory.
  await cannotBe(parent, 'the groups', '--data', async () => { await rmdir(await mkdtemp(join(parent, 'vrfs-tune-'))); });
}

async function cannotBe<T>(directory: string, of: string, option: string, act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    throw new EnvironmentError(`${directory} cannot be the directory of ${of}: ${error instanceof Error ? error.message : String(error)}`, `give another one: ${option} <directory>`, { cause: error });
  }
}

/** Null: it is not there. */
async function names(directory: string, of: string, option: string): Promise<string[] | null> {
  return await cannotBe(directory, of, option, async () => {
    try {
      return await readdir(directory);
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null;
      throw error;
    }
  });
}

function runText({ throughput, recovery }: RunFigures): string {
  const rate = `${Math.round(throughput)} operations/s`;
  if (recovery === undefined) return rate;
  return Number.isFinite(recovery) ? `${rate}, up to date after ${recovery.toFixed(2)} s` : `${rate}, not up to date within ${RECOVERY_BOUND_S} s`;
}

async function sweep(request: TuneRequest, io: Io, signal: AbortSignal, runOne: RunOne): Promise<TuneReport> {
  const { settings, parent, main } = request;
  const { intervals, repeats } = settings;
  const runs: RunFigures[][] = intervals.map(() => []);
  const progress = new Progress(io.stderr, intervals.length * repeats);
  const context: RunContext = { settings, parent, main, signal, phase: (what) => { progress.phase(what); } };
  try {
    for (let repeat = 1; repeat <= repeats; repeat++) {
      for (const [i, interval] of intervals.entries()) {
        signal.throwIfAborted();
        progress.run(`O = ${intervalText(interval, severalSizes(settings))}, repeat ${repeat}`);
        const figures = await runOne(interval, context);
        defined(runs[i], 'runs of the interval').push(figures);
        progress.ended(runText(figures));
      }
    }
  } finally {
    progress.close();
  }
  if (repeats < 2) await note(io, 'one run each: nothing is known of the spread (--repeats 3)');
  return reportOf(settings, parent, intervals.map((interval, i) => pointOf(interval, defined(runs[i], 'runs'))), new Date());
}

/** Names of the files, the page first. The one by which the directory is known for one of results is written first: others alone would have it refused the next time. */
async function writeReport(report: TuneReport, out: string): Promise<string[]> {
  await writeFile(join(out, RESULT), `${JSON.stringify(reportJson(report), null, 2)}\n`);
  const shown = new Map([['index.html', pageHtml(report)], ...plotsOf(report)]);
  for (const [name, text] of shown) await writeFile(join(out, name), text);
  const [page = '', ...plots] = shown.keys();
  return [page, RESULT, ...plots];
}
