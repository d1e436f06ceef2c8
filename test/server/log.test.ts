import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { createLog } from '../../server/log.ts';
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
});
