/** Which commands change nothing. */
import type { Command } from 'commander';

const READING = new WeakMap<Command, (args: readonly string[]) => boolean>();

/**
 * It may end, with success, in the midst of what it does, when nobody reads its output any more. `when`: with these arguments. Not for what tells by its
 * exit code how the group is (status, scrub): that has to be told all the same.
 */
export function markReading(command: Command, when: (args: readonly string[]) => boolean = () => true): Command {
  READING.set(command, when);
  return command;
}

export function onlyReads(command: Command): boolean {
  return READING.get(command)?.(command.args) === true;
}
