/**
 * The sweep: each interval once, then each again, and so on, so that what changes on the machine meanwhile (its temperature, its neighbours) does
 * not favour one of them. Ends by itself, or by SIGINT or SIGTERM, and leaves no process and no directory of its own behind either way.
 */
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { defined } from '../../lib/assert.ts';
import { EnvironmentError, Interrupted } from '../failure.ts';
import { note, print, printJson, type Io } from '../io.ts';
import { pointOf, type RunFigures } from './figures.ts';
import { pageHtml } from './page.ts';
import { Progress } from './progress.ts';
import { plotsOf, recommendationText, reportJson, reportOf, severalSizes, tableText, type TuneReport } from './report.ts';
import { run, type RunContext } from './run.ts';
import { intervalText, type TuneSettings } from './settings.ts';

export interface TuneRequest {
  readonly settings: TuneSettings;
  /** Where the results go. */
  readonly out: string;
  /** Where the directories of the groups are made. */
  readonly parent: string;
  readonly json: boolean;
  readonly main: string;
}

/** One run; replaced in tests. */
export type RunOne = typeof run;

const RESULT = 'tune.json';

export async function tune(request: TuneRequest, io: Io, runOne: RunOne = run): Promise<void> {
  const out = resolve(io.cwd, request.out);
  const parent = resolve(io.cwd, request.parent);
  await checkDirectories(out, parent);
  const stop = new AbortController();
  const onSignal = (): void => { stop.abort(new Interrupted('interrupted; the replicas have been ended, and nothing was written')); };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, onSignal);
  try {
    const report = await sweep({ ...request, parent }, io, stop.signal, runOne);
    const files = await writeReport(report, out);
    if (request.json) await printJson(io, reportJson(report));
    else await print(io, `${tableText(report)}\n\n${recommendationText(report.recommendation)}\n\n${files.map((file) => join(out, file)).join('\n')}`);
  } catch (error) {
    // Whatever broke when everything was told to end, that is why.
    throw stop.signal.aborted ? stop.signal.reason : error;
  } finally {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.off(signal, onSignal);
  }
}

/** Before minutes have gone by. */
async function checkDirectories(out: string, parent: string): Promise<void> {
  const found = await names(out, 'the results', '--out');
  if (found !== null && found.length > 0 && !found.includes(RESULT)) throw new EnvironmentError(`${out} holds other files (${found.slice(0, 3).join(', ')})`, 'give a new or an empty directory: --out <directory>');
  if ((await names(parent, 'the groups', '--data')) === null) throw new EnvironmentError(`${parent} is not there`, 'give a directory on the disk that is to be measured: --data <directory>');
}

/** Null: it is not there. */
async function names(directory: string, of: string, option: string): Promise<string[] | null> {
  try {
    return await readdir(directory);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code === 'ENOENT') return null;
    throw new EnvironmentError(`${directory} cannot be the directory of ${of}: ${error instanceof Error ? error.message : String(error)}`, `give another one: ${option} <directory>`, { cause: error });
  }
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
        progress.ended(`${Math.round(figures.throughput)} operations/s${figures.recovery === undefined ? '' : `, up to date after ${figures.recovery.toFixed(2)} s`}`);
      }
    }
  } finally {
    progress.close();
  }
  if (repeats < 2) await note(io, 'one run each: nothing is known of the spread (--repeats 3)');
  return reportOf(settings, parent, intervals.map((interval, i) => pointOf(interval, defined(runs[i], 'runs'))), new Date());
}

/** Names of the files, the page first. */
async function writeReport(report: TuneReport, out: string): Promise<string[]> {
  const files = new Map([['index.html', pageHtml(report)], [RESULT, `${JSON.stringify(reportJson(report), null, 2)}\n`], ...plotsOf(report)]);
  await mkdir(out, { recursive: true });
  for (const [name, text] of files) await writeFile(join(out, name), text);
  return [...files.keys()];
}
