/**
 * What has to be on disk before which message may leave (PROTOCOL section 2, vr/ports.ts), checked at the sending
 * itself against what a crash at that moment would leave; and that no durable promise is ever taken back.
 */
import type { Durability } from '../../vr/configuration.ts';
import type { Message } from '../../vr/messages.ts';
import type { Superblock } from '../../vr/superblock.ts';
import { ensure } from './violation.ts';

/** What the disk holds now, beyond any crash. */
export interface Durable {
  readonly superblock: Superblock;
  /** Held by the journal or by a checkpoint. */
  readonly op: number;
  readonly journalLogView: number;
}

export function checkSending(replica: number, incarnation: number, durability: Durability, durable: Durable, m: Message): void {
  const { superblock } = durable;
  const fail = (needs: string) => (): string => `#${replica} sends ${m.type} before ${needs}`;
  ensure(superblock.incarnation >= incarnation, 'order of effects', fail(`its incarnation ${incarnation} is durable (${superblock.incarnation})`));
  const logView = Math.max(superblock.logView, durable.journalLogView);
  const onDisk = durability === 'disk';
  switch (m.type) {
    case 'startViewChange':
      ensure(superblock.view >= m.view, 'order of effects', fail(`view ${m.view} is durable (${superblock.view})`));
      return;
    case 'doViewChange':
      ensure(superblock.view >= m.view && superblock.promisedView >= m.view, 'order of effects', fail(`the promise of view ${m.view} is durable`));
      ensure(logView >= m.logView, 'order of effects', fail(`log-view ${m.logView} is durable (${logView})`));
      ensure(!onDisk || durable.op >= m.op, 'order of effects', fail(`op ${m.op} is durable (${durable.op})`));
      return;
    case 'prepareOk':
      ensure(!onDisk || durable.op >= m.op, 'order of effects', fail(`op ${m.op} is durable (${durable.op})`));
      ensure(!onDisk || m.op === 0 || logView >= m.view, 'order of effects', fail(`log-view ${m.view} is durable (${logView})`));
      return;
    case 'startView':
      ensure(!onDisk || logView >= m.view, 'order of effects', fail(`log-view ${m.view} is durable (${logView})`));
      return;
    default:
      return;
  }
}

/**
 * Between one durable superblock and the next.
 * @param stateLost the records were lost: the group may have given an older checkpoint in their place
 */
export function checkSuperblocks(replica: number, before: Superblock, now: Superblock, stateLost = false): void {
  const rises = (what: string, a: number, b: number): void => ensure(b >= a, 'durable promises stand', () => `${what} of #${replica} goes from ${a} to ${b} on disk`);
  rises('incarnation', before.incarnation, now.incarnation);
  rises('view', before.view, now.view);
  rises('promised view', before.promisedView, now.promisedView);
  rises('log-view', before.logView, now.logView);
  if (!stateLost) rises('checkpoint', before.checkpoint.op, now.checkpoint.op);
}
