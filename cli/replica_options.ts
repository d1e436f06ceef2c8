/** Options of the commands that make or run replicas. */
import { InvalidArgumentError, Option } from 'commander';

export function durabilityOption(): Option {
  return new Option('--durability <mode>', 'disk: an acknowledged change survives the power loss of all; memory: it survives as long as a majority runs').choices(['disk', 'memory']);
}

/** `key=value`, once or more often. */
export function collect(text: string, before: Readonly<Record<string, string>>): Record<string, string> {
  const equals = text.indexOf('=');
  if (equals < 1) throw new InvalidArgumentError('key=value is needed');
  return { ...before, [text.slice(0, equals)]: text.slice(equals + 1) };
}
