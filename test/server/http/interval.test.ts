import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ChangeRefused, NoAnswer } from '../../../client/administrator_errors.ts';
import { OutcomeUnknown } from '../../../client/errors.ts';
import { opNumber } from '../../../lib/ids.ts';
import { buildHttp } from '../../../server/http/server.ts';
import type { IntervalAdministrator } from '../../../server/http/ports.ts';
import type { CheckpointInterval } from '../../../vr/checkpoint_interval.ts';
import { FakeClient, FakeLog, FakeReplica, problemOf } from './support.ts';

const PATH = '/v1/checkpoints/interval';

class FakeAdministrator implements IntervalAdministrator {
  present: CheckpointInterval = { ops: 1000, bytes: 64 << 20, since: opNumber(0) };
  fails: Error | null = null;
  async interval(): Promise<CheckpointInterval> {
    if (this.fails !== null) throw this.fails;
    return this.present;
  }
  async changeInterval(wanted: Partial<CheckpointInterval>): Promise<CheckpointInterval> {
    if (this.fails !== null) throw this.fails;
    this.present = { ...this.present, ...wanted, since: opNumber(9) };
    return this.present;
  }
}

let administrator: FakeAdministrator;
let app: Awaited<ReturnType<typeof buildHttp>>;
beforeEach(async () => {
  administrator = new FakeAdministrator();
  app = await buildHttp({ running: new FakeReplica(), client: new FakeClient(), administrator: () => administrator, log: new FakeLog() });
});
afterEach(async () => {
  await app.close();
});
const put = async (payload: object, headers: Record<string, string> = {}) => await app.inject({ method: 'PUT', url: PATH, payload, headers });

describe('the checkpoint interval over HTTP', () => {
  test('is shown, and changed in part or as a whole', async () => {
    expect((await app.inject({ method: 'GET', url: PATH })).json()).toEqual({ ops: 1000, bytes: 67_108_864, since: 0 });
    expect((await put({ ops: 500 })).json()).toEqual({ ops: 500, bytes: 67_108_864, since: 9 });
    expect((await put({ ops: 2000, bytes: 1 << 20 })).json()).toEqual({ ops: 2000, bytes: 1_048_576, since: 9 });
  });

  test('is changed by root only', async () => {
    expect(problemOf(await put({ ops: 500 }, { 'x-vrfs-uid': '1000' }))).toMatchObject({ status: 403 });
    expect(administrator.present.ops).toBe(1000);
  });

  test.each([[{}], [{ ops: 0 }], [{ ops: 1.5 }], [{ ops: '500' }], [{ bytes: -1 }], [{ ops: 4_294_967_296 }], [{ bytes: 2 ** 53 }], [{ ops: 500, every: 1 }]])('refuses the body %j', async (body) => {
    expect(problemOf(await put(body)).status).toBe(400);
    expect(administrator.present.ops).toBe(1000);
  });

  test('a refusal of the group has its reason', async () => {
    administrator.fails = new ChangeRefused('invalid', 'a checkpoint every 60000 operations: at most half of maxLogEntries');
    expect(problemOf(await put({ ops: 60_000 }))).toMatchObject({ status: 400, detail: expect.stringContaining('at most half of maxLogEntries') as string });
    administrator.fails = new ChangeRefused('underWay', 'somebody else has changed it');
    expect(problemOf(await put({ ops: 600 }))).toMatchObject({ status: 409, detail: expect.stringContaining('somebody else') as string });
  });

  test('no answer: nothing was changed, or it is not known', async () => {
    administrator.fails = new NoAnswer('not within the time');
    expect(problemOf(await put({ ops: 600 })).status).toBe(503);
    expect(problemOf(await app.inject({ method: 'GET', url: PATH })).status).toBe(503);
    administrator.fails = new OutcomeUnknown('not within the time');
    expect(problemOf(await put({ ops: 600 })).status).toBe(504);
  });
});
