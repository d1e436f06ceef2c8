import { describe, expect, it } from 'vitest';
import { pino } from 'pino';
import { memberId } from '../../lib/ids.ts';
import { LinkLog } from '../../server/link_log.ts';

describe('the log of the links', () => {
  it('tells of a member that refuses this replica once, however often it tries, until it is heard', () => {
    const lines: { level: number; msg: string }[] = [];
    const log = new LinkLog(pino({ level: 'info' }, { write: (line: string) => { lines.push(JSON.parse(line) as { level: number; msg: string }); } }));
    const two = memberId(2);
    for (let i = 0; i < 3; i++) {
      log.connected(two);
      log.refused(two, 'formatted anew');
      log.lost(two, 'refused: formatted anew');
    }
    expect(lines.map((l) => [l.level, l.msg])).toEqual([[30, 'connected to member 2'], [50, 'member 2 refuses this replica: formatted anew']]);
    expect([...log.refusals]).toEqual([[2, 'formatted anew']]);
    log.heard(memberId(3));
    log.heard(two);
    expect(log.refusals.size).toBe(0);
    log.lost(two, null);
    expect(lines.slice(2).map((l) => l.msg)).toEqual(['member 2 does not refuse this replica any more', 'no connection to member 2: the other side has closed it']);
  });
});
