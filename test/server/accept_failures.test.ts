import { createServer } from 'node:net';
import { describe, expect, it } from 'vitest';
import { buildHttp } from '../../server/http/server.ts';
import { tellAcceptFailures } from '../../server/accept_failures.ts';
import { FakeClient, FakeReplica } from './http/support.ts';

describe('connections that cannot be accepted', () => {
  it('are told of once a second, with the number of those in between', () => {
    const server = createServer();
    const told: string[] = [];
    let now = 0;
    tellAcceptFailures(server, (reason) => { told.push(reason); }, () => now);
    for (const [at, code] of [[0, 'ENOBUFS'], [1, 'ENOMEM'], [999, 'ENOMEM'], [1000, 'ENFILE'], [2500, 'EMFILE']] as const) {
      now = at;
      server.emit('error', new Error(`accept ${code}`));
    }
    expect(told).toEqual(['it could not be accepted: accept ENOBUFS', 'it could not be accepted: accept ENFILE (and 2 before it)', 'it could not be accepted: accept EMFILE']);
  });

  it('do not end the HTTP API', async () => {
    const warnings: object[] = [];
    const log = { info: () => undefined, warn: (data: object, message: string) => { warnings.push({ ...data, message }); }, error: () => undefined };
    const app = await buildHttp({ running: new FakeReplica(), client: new FakeClient(), log });
    try {
      await app.listen({ host: '127.0.0.1', port: 0 });
      app.server.emit('error', new Error('accept ENOMEM'));
      expect(warnings).toEqual([{ reason: 'it could not be accepted: accept ENOMEM', message: 'an HTTP connection was refused' }]);
    } finally {
      await app.close();
    }
  });

  it('are not what a port is that cannot be listened on', async () => {
    const warnings: string[] = [];
    const log = { info: () => undefined, warn: (_data: object, message: string) => { warnings.push(message); }, error: () => undefined };
    const app = await buildHttp({ running: new FakeReplica(), client: new FakeClient(), log });
    try {
      await expect(app.listen({ host: '203.0.113.1', port: 0 })).rejects.toThrow('EADDRNOTAVAIL');
      expect(warnings).toEqual([]);
    } finally {
      await app.close();
    }
  });
});
