/** A logger over `LogLines`. */
import { pino, type Logger, type LoggerOptions } from 'pino';
import { LogLines } from './log_lines.ts';

/**
 * Synchronous. Lines that could not be written are counted, and the next one that can be says how many.
 *
 * @param to a file, or an open descriptor
 * @throws the system's error when the file cannot be opened
 */
export function logTo(to: string | number, options: LoggerOptions): Logger {
  const lines = new LogLines(to);
  const log = pino(options, lines);
  lines.onResumed = (lost, reason) => { log.warn({ lost }, `${lost} lines of this log could not be written: ${reason}`); };
  return log;
}
