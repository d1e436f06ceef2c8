/** What goes into a fetch and what comes out of it. */
import type { Digest, OpNumber } from '../lib/ids.ts';
import type { AvailableCheckpoint } from './transfer_messages.ts';

/** Sends a request to a donor's `serve` and gives its answer; rejects when it cannot, and has a time-out of its own. */
export interface DonorConnection {
  readonly name: string;
  request(body: Buffer): Promise<Buffer>;
}

export interface FetchProgress {
  readonly requests: number;
  readonly bytesReceived: number;
  readonly bytesSent: number;
  readonly recordBytes: number;
  readonly recordsChanged: number;
  /** Nodes known to differ and not fetched yet. */
  readonly wanted: number;
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

/** Every donor failed; what was verified until then is kept, and the next fetch goes on from there. */
export class FetchFailed extends Error {
  override readonly name = 'FetchFailed';
  readonly donors: readonly DonorReport[];
  constructor(target: { readonly op: OpNumber }, donors: readonly DonorReport[]) {
    const reasons = donors.map(({ name, error }) => `${name}: ${error ?? 'not asked'}`).join('; ');
    super(`the checkpoint of op ${target.op} could not be fetched from any of ${donors.length} donors (${reasons})`);
    this.donors = donors;
  }
}
