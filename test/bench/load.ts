/** A closed loop: keeps `inFlight` operations under way for `milliseconds`, and says how many were done and how long each took. */
import type { VrfsClient } from '../../client/client.ts';
import type { Completion } from '../../client/completion.ts';
import type { VrfsError } from '../../client/errors.ts';
import { percentile } from './report.ts';

export interface LoadResult {
  readonly perSecond: number;
  /** Milliseconds. */
  readonly p50: number;
  readonly p99: number;
}

/** The encoded call number `n`, and whether it goes through the log. */
export interface Workload {
  readonly write: boolean;
  readonly body: (n: number) => Buffer;
}

/** Latencies that are kept: for so many operations a millisecond, which is more than there are. */
const MAX_PER_MS = 400;

/** Ends after `milliseconds`, or when `stop` is given; what is under way then is waited for, and counts. */
export function runLoad(client: VrfsClient, workload: Workload, inFlight: number, milliseconds: number, firstNumber: number, stop?: AbortSignal): Promise<LoadResult & { readonly next: number }> {
  return new Promise((resolve, reject) => {
    const samples = Math.min(4_000_000, Math.ceil(milliseconds * MAX_PER_MS));
    const latencies = new Float64Array(samples);
    let done = 0;
    let next = firstNumber;
    let running = inFlight;
    const started = performance.now();
    const end = started + milliseconds;

    class Slot implements Completion {
      #sentAt = 0;
      send(): void {
        this.#sentAt = performance.now();
        const body = workload.body(next++);
        if (workload.write) client.submitEncoded(body, this);
        else client.queryEncoded(body, this);
      }
      completed(result: Buffer): void {
        const now = performance.now();
        // Results start with an errno; anything but 0 means that the benchmark measures failures.
        if (result.readUInt8(0) !== 0) {
          reject(new Error(`an operation failed: result ${result.toString('hex').slice(0, 32)}`));
          return;
        }
        if (done < samples) latencies[done] = now - this.#sentAt;
        done++;
        if (now < end && stop?.aborted !== true) {
          this.send();
          return;
        }
        running--;
        if (running === 0) finish(now);
      }
      failed(error: VrfsError): void {
        reject(error);
      }
    }

    const finish = (now: number): void => {
      const sorted = latencies.subarray(0, Math.min(done, samples)).sort();
      resolve({ perSecond: done / ((now - started) / 1000), p50: percentile(sorted, 0.5), p99: percentile(sorted, 0.99), next });
    };
    for (let i = 0; i < inFlight; i++) new Slot().send();
  });
}
