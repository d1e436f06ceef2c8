/** What killed_process.ts is told, and how it fetches. */

export interface KilledTask {
  readonly directory: string;
  /** Steps that are taken; null: all. */
  readonly left: number | null;
  /** How far into a write that is the last step, microseconds. */
  readonly microseconds: number;
  /** A checkpoint of this round, or the transfer of a checkpoint from a donor at this port. */
  readonly work:
    | { readonly type: 'take'; readonly op: number; readonly changes: number }
    | { readonly type: 'fetch'; readonly op: number; readonly root: string; readonly port: number };
}

/** Small, so that a transfer has a middle. */
export const FETCHER_LIMITS = { maxItems: 16, maxAnswerBytes: 4096, installBytes: 8192, requestsPerDonor: 1 };
