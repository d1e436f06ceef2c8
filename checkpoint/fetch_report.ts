/** What goes into a fetch and what comes out of it. */
import type { Digest, OpNumber } from '../lib/ids.ts';
import type { AvailableCheckpoint } from './transfer_messages.ts';

/** Sends a request to a donor's `serve` and gives its answer; rejects when it cannot. Given up when the signal is given. Tells `arrived` of bytes of the answer as they come, if it can. */
export interface DonorConnection {
  readonly name: string;
  /** Asked only while no other donor answers in time: it has clients to serve. */
  readonly lastResort?: boolean;
  request(body: Buffer, signal: AbortSignal, arrived: (bytes: number) => void): Promise<Buffer>;
}

export interface FetchProgress {
  readonly requests: number;
  readonly bytesReceived: number;
  readonly bytesSent: number;
  readonly recordBytes: number;
  readonly recordsChanged: number;
  /** Nodes of the target's tree that were fetched and found right, and those known to differ and not fetched yet. */
  readonly verified: number;
  readonly wanted: number;
  /** How much of the target is settled, 0 to 1: each node counts for an equal share of the one above; less where the records by which the target has more have not come. */
  readonly settled: number;
  readonly milliseconds: number;
  /** Milliseconds that the rest takes at the rate of what was fetched so far; null: nothing was yet. */
  readonly etaMs: number | null;
}

export interface FetchOptions {
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: FetchProgress) => void;
}

export interface DonorReport {
  readonly name: string;
  readonly requests: number;
  readonly bytesReceived: number;
  /** Why it was given up, or its last failure. */
  readonly error: string | null;
}

export interface FetchReport {
  readonly bytesReceived: number;
  readonly bytesSent: number;
  /** Keys and values of the records that changed: what a perfect transfer would move. */
  readonly recordBytes: number;
  readonly recordsChanged: number;
  /** Keys and values of the whole state. */
  readonly stateBytes: number;
  readonly requests: number;
  readonly milliseconds: number;
  readonly donors: readonly DonorReport[];
}

/** No donor holds the target any more; `available` says what they hold, newest first. */
export class TargetGone extends Error {
  override readonly name = 'TargetGone';
  readonly available: readonly AvailableCheckpoint[];
  constructor(target: { readonly op: OpNumber; readonly root: Digest }, available: readonly AvailableCheckpoint[]) {
    super(`no donor holds the checkpoint of op ${target.op} any more; they have ${available.map(({ op }) => op).join(', ')}`);
    this.available = available;
  }
}

/** Every donor failed; what was written until then is kept, and the next fetch goes on from there. */
export class FetchFailed extends Error {
  override readonly name = 'FetchFailed';
  readonly donors: readonly DonorReport[];
  constructor(target: { readonly op: OpNumber }, donors: readonly DonorReport[]) {
    const reasons = donors.map(({ name, error }) => `${name}: ${error ?? 'not asked'}`).join('; ');
    super(`the checkpoint of op ${target.op} could not be fetched from any of ${donors.length} donors (${reasons})`);
    this.donors = donors;
  }
}
