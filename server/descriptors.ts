/**
 * How many connections a replica may have, so that some of the process's file descriptors are left: whoever opens a file for its journal and finds none
 * cannot go on (PROTOCOL: nothing is acknowledged that is not on disk), and then any program that only connects could end every replica.
 */
import { readFileSync } from 'node:fs';

/** For files and the other replicas: a quarter, but no more than so many. LevelDB keeps up to a thousand tables open. */
const MOST_RESERVED = 1536;
/** Connections that have not said yet what they are; these are few at any time, and say it at once. */
const MOST_STRANGERS = 1024;

export interface ConnectionShares {
  readonly clients: number;
  /** That have not said what they are. */
  readonly strangers: number;
  readonly http: number;
}

/** Of a process that may have so many descriptors. Where the limit is high, what is configured decides. */
export function connectionShares(limit: number): ConnectionShares {
  const left = limit - Math.min(MOST_RESERVED, Math.ceil(limit / 4));
  const share = (part: number): number => Math.max(1, Math.floor(left * part));
  return { clients: share(1 / 2), strangers: Math.min(MOST_STRANGERS, share(1 / 8)), http: share(3 / 8) };
}

/** Node has raised the limit as far as it may be by the time this is asked. Infinity: there is none, or it cannot be told. */
export function descriptorLimit(readLimits: () => string = () => readFileSync('/proc/self/limits', 'utf8')): number {
  let text: string;
  try {
    text = readLimits();
  } catch {
    return Infinity;
  }
  const limit = /^Max open files +(\d+)/m.exec(text)?.[1];
  return limit === undefined ? Infinity : Number(limit);
}
