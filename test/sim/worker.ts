/** A share of a range of seeds, in a thread of its own. */
import { parentPort, workerData } from 'node:worker_threads';
import { seedOutcome, type RunSettings } from './run_seed.ts';

export interface Share {
  readonly run: RunSettings;
  readonly first: number;
  readonly last: number;
  readonly step: number;
}

const { run, first, last, step } = workerData as Share;
for (let seed = first; seed <= last; seed += step) parentPort?.postMessage(seedOutcome(seed, run));
