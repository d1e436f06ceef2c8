/** Logs and counters of a replica process: pino, and a sink that turns the replica's events into both. */
import { pino, type Level, type Logger } from 'pino';
import { logTo } from '../lib/log_to.ts';
import type { EventSink } from '../vr/ports.ts';
import type { ServerConfig } from './config.ts';

export type Log = Logger;

const STANDARD_OUTPUT = 1;

export function createLog(config: Pick<ServerConfig, 'logLevel' | 'logFile'>, bindings: Readonly<Record<string, unknown>> = {}): Log {
  // Synchronous; nothing is logged for each operation.
  return logTo(config.logFile ?? STANDARD_OUTPUT, { level: config.logLevel, base: { pid: process.pid, ...bindings }, timestamp: pino.stdTimeFunctions.isoTime });
}

/** What an operator wants to see of a healthy replica; the rest is 'debug'. */
const LEVELS: Readonly<Record<string, Level>> = {
  started: 'info',
  status: 'info',
  'view-change': 'info',
  suspects: 'info',
  elected: 'info',
  normal: 'info',
  recovering: 'info',
  yields: 'info',
  abdicated: 'warn',
  'disk-stalled': 'warn',
  'steps-down': 'info',
  reconfiguration: 'info',
  promotes: 'warn',
  'epoch-begins': 'info',
  'epoch-started': 'info',
  'epoch-complete': 'info',
  retired: 'info',
  'checkpoint-interval': 'info',
  'group-cannot-recover': 'error',
  'state-transfer': 'info',
  'state-installed': 'info',
  'state-transfer-failed': 'warn',
  'checkpoint-skipped': 'info',
  'keeps-log': 'info',
  'keeps-log-no-more': 'info',
  'log-cramped': 'error',
  'log-has-room': 'info',
  'yields-for-room': 'warn',
  'checkpoint-disputed': 'error',
  'checkpoint-unconfirmed': 'info',
  'root-differs': 'error',
  'witness-log-long': 'warn',
};

/** What to do about an event that needs a person. */
const REMEDIES: Readonly<Record<string, string>> = {
  'witness-log-long': 'a witness keeps its log, in memory too, until every voter has the state on disk. The member that it waits for has not told so for long: start it, or put another in its place (vrfs members replace)',
};

const LOST_IN_MEMORY = 'too many replicas with durability memory have stopped at once: what was acknowledged after the newest checkpoint is gone. Stop all of them, and see on each machine what it still holds and how to go on from there: vrfs revive --data <its data directory>';
const DAMAGED_ON_DISK = 'the records or the journals of too many replicas are damaged at once for the others to repair them. Give up nothing: one whose log on disk can be trusted needs records only. Stop it and one that does not recover, put a copy of the records of that one in the place of its own, and start both';

function remedyOf(name: string, data: Readonly<Record<string, unknown>>): string | undefined {
  if (name === 'group-cannot-recover') return data['durability'] === 'memory' ? LOST_IN_MEMORY : DAMAGED_ON_DISK;
  return REMEDIES[name];
}

export interface CountingSink extends EventSink {
  readonly counts: ReadonlyMap<string, number>;
}

/** Logs each event at its level and counts it. */
export function eventSink(log: Log): CountingSink {
  const counts = new Map<string, number>();
  return {
    counts,
    event(name, data) {
      counts.set(name, (counts.get(name) ?? 0) + 1);
      const level = LEVELS[name] ?? 'debug';
      if (!log.isLevelEnabled(level)) return;
      const remedy = remedyOf(name, data);
      log[level](remedy === undefined ? data : { ...data, remedy }, name);
    },
  };
}
