import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { createLog, eventSink } from '../../server/log.ts';
import { temporaryDirectory } from './support.ts';

describe('the log of a replica', () => {
  it('does not end the replica when its disk is full', () => {
    const log = createLog({ logFile: '/dev/full', logLevel: 'info' });
    expect(() => { log.info('one'); }).not.toThrow();
    expect(() => { log.info('two'); }).not.toThrow();
    // pino has what waits written at once here, which must not wait for room either.
    expect(() => { log.fatal('the end'); }).not.toThrow();
  });

  it('goes into a file whose directories are made, behind what is there', async () => {
    const logFile = join(await temporaryDirectory(), 'logs', 'replica.log');
    createLog({ logFile, logLevel: 'info' }).info('one');
    createLog({ logFile, logLevel: 'info' }, { member: 7 }).info('two');
    const lines = (await readFile(logFile, 'utf8')).trimEnd().split('\n').map((line) => JSON.parse(line) as object);
    expect(lines).toMatchObject([{ msg: 'one', level: 30 }, { msg: 'two', member: 7 }]);
  });

  it('says at its default level who the members became, and why a primary gave up', async () => {
    const logFile = join(await temporaryDirectory(), 'replica.log');
    const sink = eventSink(createLog({ logFile, logLevel: 'info' }));
    for (const name of ['disk-stalled', 'promotes', 'reconfiguration', 'epoch-begins', 'epoch-started', 'epoch-complete', 'retired', 'checkpoint-interval', 'session-expired', 'duplicate-skipped']) sink.event(name, { n: 1 });
    const lines = (await readFile(logFile, 'utf8')).trimEnd().split('\n').map((line) => JSON.parse(line) as { readonly level: number; readonly msg: string });
    expect(lines.map(({ level, msg }) => [level, msg])).toEqual([
      [40, 'disk-stalled'], [40, 'promotes'], [30, 'reconfiguration'], [30, 'epoch-begins'], [30, 'epoch-started'], [30, 'epoch-complete'], [30, 'retired'], [30, 'checkpoint-interval'],
    ]);
  });
});
