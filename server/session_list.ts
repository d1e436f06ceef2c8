/** The sessions of clients, as of what a replica has executed: its client table (vrfs sessions, GET /v1/sessions). */
import { SESSION_HOLDS_OPENS } from '../vr/messages.ts';
import type { Replica } from '../vr/replica.ts';
import type { SessionPage, SessionStatus } from './running_replica.ts';

/** Those whose ids are above `after`, `limit` at most. Null: there is no table here that may be read. */
export function sessionPage(replica: Replica, after: number, limit: number): SessionPage | null {
  if (replica.isWitness || !replica.execution.ready) return null;
  const sessions: SessionStatus[] = [];
  // The table has them in the order of their ids, which are the ops of their registrations.
  for (const s of replica.clients.sessions()) {
    if (s.id <= after) continue;
    if (sessions.length === limit) return { executed: replica.executed, sessions, last: false };
    sessions.push({ id: s.id, name: s.name, lastActive: s.lastActive, holdsOpens: (s.flags & SESSION_HOLDS_OPENS) !== 0, slots: s.slots.length });
  }
  return { executed: replica.executed, sessions, last: true };
}
