/** `vrfs members` and the like are short for `list`. Commander takes a word that is no command for an argument of that. */
import type { Command } from 'commander';

/** The group's command `list`, which also answers the bare name of the group. Any other word is refused with what there is. */
export function listByDefault(group: Command, description: string): Command {
  const list = group.command('list', { isDefault: true }).description(description);
  // Left to the check below, which knows whether `list` was said.
  return list.allowExcessArguments().hook('preAction', () => {
    const [word] = list.args;
    if (word === undefined) return;
    if (group.args[0] === 'list') list.error(`error: vrfs ${group.name()} list takes no arguments, and got '${word}'`, { code: 'commander.excessArguments' });
    const known = group.commands.map((c) => c.name()).join(', ');
    group.error(`error: vrfs ${group.name()} has no command '${word}': there are ${known}`, { code: 'commander.unknownCommand' });
  });
}
