/**
 * Who may say what: votes come from electors of the epoch that they are cast in, acknowledgements from its members, and only the
 * primary of a view speaks for it. A node that joins, has left, or observes has no vote.
 */
import { viewEpoch, type Epoch, type MemberId } from '../../lib/ids.ts';
import { isElector, isMember, primaryOf, type Configuration } from '../../vr/configuration.ts';
import type { Message } from '../../vr/messages.ts';
import { ensure, Violation } from './violation.ts';

export function checkVoice(sender: MemberId, m: Message, configurationOf: (epoch: Epoch) => Configuration | undefined): void {
  switch (m.type) {
    case 'startViewChange':
    case 'doViewChange':
    case 'prepareOk':
    case 'prepare':
    case 'commit':
    case 'startView':
      break;
    default:
      return;
  }
  const at = viewEpoch(m.view);
  const c = configurationOf(at);
  const who = `member ${sender} sends ${m.type} in view ${m.view} of epoch ${at}`;
  if (c === undefined) throw new Violation('votes of members only', `${who}, which has not begun`);
  if (m.type === 'startViewChange' || m.type === 'doViewChange') ensure(isElector(c, sender), 'votes of members only', () => `${who} and has no vote there`);
  else if (m.type === 'prepareOk') ensure(isMember(c, sender), 'votes of members only', () => `${who} and is no member there`);
  else ensure(primaryOf(c, m.view).id === sender, 'votes of members only', () => `${who}, of which ${primaryOf(c, m.view).id} is the primary`);
}
