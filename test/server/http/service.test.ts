import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { BadAnswer, Behind, Busy, Closed, InvalidCall, NotReachable, OutcomeUnknown, TimedOut } from '../../../client/errors.ts';
import { digest, opNumber } from '../../../lib/ids.ts';
import { CHECKPOINT_PATH, CLUSTER_ID_HEADER } from '../../../server/running_replica.ts';
import { CLUSTER_ID, openApi, problemOf, type Api } from './support.ts';

let api: Api;
beforeEach(async () => {
  api = await openApi();
});
afterEach(async () => {
  await api.close();
});

describe('status and health', () => {
  test('status', async () => {
    const status = (await api.request('GET', '/v1/status')).json<Record<string, unknown>>();
    expect(status).toMatchObject({
      clusterId: CLUSTER_ID.toString('hex'), memberId: 1, status: 'normal', view: 3, primary: 1, isPrimary: true, op: 42, commit: 41, executed: 41, healthy: true, durability: 'disk', epoch: 0, version: '0.1.0', uptimeMs: 90_061_000,
      checkpoint: { op: 40, root: '0'.repeat(64) },
      checkpointInterval: { ops: 1000, bytes: 64 << 20, since: 0 },
      checkpointCost: { takes: 4, last: { records: 30 }, recent: { mean: { records: 25 }, share: 0.02 }, logBytesSince: 200 },
      members: [{ id: 1, httpAddress: '127.0.0.1:7201' }, { id: 2 }, { id: 3 }],
      peers: [{ id: 2, acked: 41, silentMs: 12 }, { id: 3, acked: null, silentMs: null }],
      recovery: { bytesReceived: 2048, lastTransfer: { stateBytes: 1 << 20, donors: ['2'] }, transfer: { op: 90, settled: 0.41, nodesVerified: 60, nodesWanted: 40, etaMs: 5800 } },
      donor: { requests: 12, deferred: 3, checkpoints: [60, 90] },
      sessions: 4, maxSessions: 4096, namespace: { inodes: 120, maxInodes: 2 ** 32, bytes: 51_200, maxBytes: 2 ** 46 },
    });
    expect(status).not.toHaveProperty('configuration');
  });
  test('health', async () => {
    expect((await api.request('GET', '/v1/health')).json()).toEqual({ ok: true });
    api.replica.healthNow = { ok: false, reason: 'The primary, member 2, has been silent for 3 s.' };
    const sick = await api.request('GET', '/v1/health');
    expect(problemOf(sick)).toMatchObject({ status: 503, detail: 'The primary, member 2, has been silent for 3 s.' });
    expect(sick.headers['retry-after']).toBe('1');
    expect((await api.request('GET', '/v1/status')).json()).toMatchObject({ healthy: false, unhealthyReason: 'The primary, member 2, has been silent for 3 s.' });
    expect((await api.request('GET', '/v1/health/live')).json()).toEqual({ ok: true });
  });
  test('a status query takes no parameters', async () => {
    expect(problemOf(await api.request('GET', '/v1/status?verbose')).detail).toContain('verbose');
  });
});

describe('metrics', () => {
  test('of the replica, of HTTP, of Node', async () => {
    await api.request('PUT', '/v1/fs/a/b?parents=true', { payload: 'x' });
    await api.request('GET', '/v1/fs/none');
    const response = await api.request('GET', '/metrics');
    expect(response.headers['content-type']).toContain('text/plain');
    const lines = response.body.split('\n');
    expect(lines).toEqual(expect.arrayContaining([
      'vrfs_view 3', 'vrfs_op_number 42', 'vrfs_healthy 1', 'vrfs_is_primary 1', 'vrfs_status{status="normal"} 1', 'vrfs_status{status="recovering"} 0',
      'vrfs_peer_silence_seconds{peer="2"} 0.012', 'vrfs_peer_acked_op_number{peer="2"} 41', 'vrfs_link_sent_bytes_total{peer="3"} 30',
      'vrfs_events_total{event="view-change"} 3', 'vrfs_state_transfer_bytes_total 2048', 'vrfs_journal_sync_seconds_total 0.08',
      'vrfs_sessions 4', 'vrfs_sessions_limit 4096', 'vrfs_inodes 120', 'vrfs_inodes_limit 4294967296', 'vrfs_namespace_bytes 51200', 'vrfs_namespace_bytes_limit 70368744177664',
      'vrfs_client_messages_total{type="request"} 130', 'vrfs_client_messages_total{type="reconfigure"} 0', 'vrfs_checkpoint_interval_ops 1000', 'vrfs_checkpoint_busy_seconds_total 0.012', 'vrfs_checkpoint_node_bytes_total 5000', 'vrfs_checkpoint_longest_hold_seconds 0.0025',
      'vrfs_checkpoint_share 0.02', 'vrfs_checkpoint_log_bytes 200', 'vrfs_checkpoint_seconds_total 0.024',
      'vrfs_state_transfer_settled_ratio 0.41', 'vrfs_state_transfer_nodes_wanted 40', 'vrfs_state_transfer_eta_seconds 5.8', 'vrfs_donor_sent_bytes_total 34567', 'vrfs_donor_deferred_total 3',
      'vrfs_checkpoint_waiting_for_room 1', 'vrfs_checkpoint_missing_room_bytes 3000', 'vrfs_checkpoint_room_waits_total 2', 'vrfs_cramped 1',
      'vrfs_scrub_passes_total 2', 'vrfs_scrub_unwritten_tables 1', 'vrfs_scrub_failures 0', 'vrfs_scrub_bytes_total 90000', 'vrfs_scrub_last_complete_timestamp_seconds 1700000000', 'vrfs_scrub_progress_ratio 1',
      'vrfs_http_requests_total{method="PUT",route="/v1/fs",status="201"} 1', 'vrfs_http_requests_total{method="GET",route="/v1/fs",status="404"} 1',
      'vrfs_http_request_seconds_count{method="PUT",route="/v1/fs"} 1',
    ]));
    expect(response.body).toContain('process_cpu_seconds_total');
    expect(response.body).toMatch(/^vrfs_event_loop_stall_seconds\{quantile="0.999"\} \d/m);
    // A second scrape says the same, not the sum.
    expect((await api.request('GET', '/metrics')).body).toContain('\nvrfs_journal_groups_total 9\n');
  });

  test('histograms are cumulative, as Prometheus has them', async () => {
    const { body } = await api.request('GET', '/metrics');
    expect(body).toContain(`
# TYPE vrfs_journal_write_seconds histogram
vrfs_journal_write_seconds_bucket{le="0.001"} 5
vrfs_journal_write_seconds_bucket{le="0.01"} 8
vrfs_journal_write_seconds_bucket{le="+Inf"} 9
vrfs_journal_write_seconds_sum 0.08
vrfs_journal_write_seconds_count 9
`);
    expect(body).toMatch(/^vrfs_request_seconds_bucket\{le="0.25"\} 120\nvrfs_request_seconds_bucket\{le="\+Inf"\} 120\nvrfs_request_seconds_sum 0.75$/m);
    expect(body).toMatch(/^# HELP vrfs_journal_write_seconds \S/m);
    // Each family has one name: a client that reads OpenMetrics takes x_total for a counter x.
    const names = [...body.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name = '', type]) => (type === 'counter' ? name.replace(/_total$/, '') : name));
    expect(names.filter((name, i) => names.indexOf(name) !== i)).toEqual([]);
  });

  test('what is not known yet is absent: a scrub that never ended has not ended in 1970', async () => {
    const before = api.replica.status();
    const status = { ...before, namespace: null, store: { ...before.store, takes: 0, lastTakeMs: 0 }, scrub: { ...before.scrub, lastCompleteAt: null }, recovery: { ...before.recovery, caughtUpMs: null, transfer: null } };
    vi.spyOn(api.replica, 'status').mockReturnValueOnce(status);
    const early = (await api.request('GET', '/metrics')).body;
    expect(early).toContain('\nvrfs_scrub_passes_total 2\n');
    expect(early).not.toMatch(/^vrfs_(scrub_last_complete_timestamp|checkpoint_last|caught_up|state_transfer_eta)_seconds/m);
    // A witness keeps no namespace, and one that is being fetched is not known yet.
    expect(early).not.toMatch(/^vrfs_(inodes|namespace)/m);
    expect((await api.request('GET', '/metrics')).body).toMatch(/^vrfs_caught_up_seconds 0.015$/m);
    expect((await api.request('GET', '/metrics')).body).toMatch(/^vrfs_checkpoint_last_seconds \d/m);
  });
});

describe('the sessions', () => {
  const session = (id: number) => ({ id, name: `mount /mnt/${id}`, lastActive: 1_700_000_000_000_000 + id, holdsOpens: id % 2 === 0, slots: id });
  test('are those that this replica has executed, by their ids', async () => {
    api.replica.sessionsNow = [session(7), session(12)];
    expect((await api.request('GET', '/v1/sessions')).json()).toEqual({
      clusterId: CLUSTER_ID.toString('hex'), memberId: 1, executed: 41,
      sessions: [
        { id: 7, name: 'mount /mnt/7', lastActiveMicros: 1_700_000_000_000_007, holdsOpens: false, slots: 7 },
        { id: 12, name: 'mount /mnt/12', lastActiveMicros: 1_700_000_000_000_012, holdsOpens: true, slots: 12 },
      ],
      cursor: null,
    });
  });
  test('come in pages', async () => {
    interface Page { readonly sessions: readonly { readonly id: number }[]; readonly cursor: string | null }
    api.replica.sessionsNow = Array.from({ length: 1030 }, (_, i) => session(i + 1));
    const whole = (await api.request('GET', '/v1/sessions')).json<Page>();
    expect([whole.sessions.length, whole.cursor]).toEqual([1024, '1024']);
    const rest = (await api.request('GET', `/v1/sessions?cursor=${whole.cursor ?? ''}`)).json<Page>();
    expect([rest.sessions.map((s) => s.id), rest.cursor]).toEqual([[1025, 1026, 1027, 1028, 1029, 1030], null]);
    const short = (await api.request('GET', '/v1/sessions?limit=2&cursor=5')).json<Page>();
    expect([short.sessions.map((s) => s.id), short.cursor]).toEqual([[6, 7], '7']);
    for (const limit of ['0', '1025', 'all']) expect(problemOf(await api.request('GET', `/v1/sessions?limit=${limit}`)).detail).toContain('limit');
    for (const cursor of ['', '-1', '1.5', 'x', '01', '281474976710656']) {
      expect(problemOf(await api.request('GET', `/v1/sessions?cursor=${cursor}`))).toMatchObject({ status: 400, detail: `cursor '${cursor}' was not given by an earlier page.` });
    }
  });
  test('are not known to a witness, nor to one that fetches its state', async () => {
    api.replica.sessionsNow = null;
    const answer = await api.request('GET', '/v1/sessions');
    expect(problemOf(answer)).toMatchObject({ status: 503, type: 'urn:vrfs:problem:no-state', remedy: expect.stringContaining('another replica') as string });
  });
});

describe('a scrub', () => {
  test('is begun by root, at a rate if there is one', async () => {
    const begun = await api.request('POST', '/v1/scrub', { payload: {} });
    expect([begun.statusCode, begun.json()]).toEqual([202, { pass: 1 }]);
    expect((await api.request('POST', '/v1/scrub', { payload: { rate: 4096 } })).json()).toEqual({ pass: 2 });
    expect(api.replica.scrubs).toEqual([undefined, 4096]);
    expect((await api.request('GET', '/v1/status')).json()).toMatchObject({ scrub: { state: 'resting', passes: 2 } });
  });
  test('is not begun by anybody else, or without JSON, or with a rate that is none', async () => {
    expect(problemOf(await api.request('POST', '/v1/scrub', { payload: {}, headers: { 'x-vrfs-uid': '7' } }))).toMatchObject({ status: 403 });
    expect(problemOf(await api.request('POST', '/v1/scrub')).status).toBe(400);
    expect(problemOf(await api.request('POST', '/v1/scrub', { payload: 'x', headers: { 'content-type': 'text/plain' } })).status).toBe(415);
    for (const rate of [0, -1, 1.5, '9']) expect(problemOf(await api.request('POST', '/v1/scrub', { payload: { rate } })).detail).toContain("'rate'");
    expect(api.replica.scrubs).toEqual([]);
  });
});

describe('checkpoints and proofs', () => {
  const known = { op: opNumber(40), root: digest('\x01'.repeat(32)), time: 1_700_000_000_000_000 };
  test('the checkpoints that are held, and those that are known', async () => {
    api.replica.checkpointsNow = { held: [{ ...known, records: 7, bytes: 900, readers: 1, idleMs: 3, keptMs: 9 }], known: [known] };
    const shown = { op: 40, root: '01'.repeat(32), timeMicros: 1_700_000_000_000_000 };
    expect((await api.request('GET', '/v1/checkpoints')).json()).toEqual({
      clusterId: CLUSTER_ID.toString('hex'), memberId: 1, held: [{ ...shown, records: 7, bytes: 900, readers: 1, idleMs: 3, keptMs: 9 }], known: [shown],
    });
  });
  test('one is taken by root, through the log', async () => {
    const before = api.client.lastOp;
    const taken = await api.request('POST', '/v1/checkpoints', { payload: {} });
    expect([taken.statusCode, taken.json()]).toEqual([202, { op: before + 1 }]);
    expect(problemOf(await api.request('POST', '/v1/checkpoints', { payload: {}, headers: { 'x-vrfs-uid': '5' } }))).toMatchObject({ status: 403, errno: 'EPERM' });
    expect(problemOf(await api.request('POST', '/v1/checkpoints')).status).toBe(400);
  });
  test('one is held on to by root, if it is here and there is room', async () => {
    const kept = await api.request('POST', '/v1/checkpoints/keep', { payload: { op: 40, seconds: 60 } });
    expect([kept.statusCode, kept.json()]).toEqual([200, { op: 40, seconds: 60 }]);
    expect(api.replica.kept).toEqual([{ op: 40, ms: 60_000 }]);
    expect(problemOf(await api.request('POST', '/v1/checkpoints/keep', { payload: { op: 40, seconds: 60 }, headers: { 'x-vrfs-uid': '7' } })).status).toBe(403);
    expect(problemOf(await api.request('POST', '/v1/checkpoints/keep', { payload: { op: 40, seconds: -1 } })).detail).toContain("'seconds'");
    expect(api.replica.kept).toHaveLength(1);
    api.replica.keeping = 'gone';
    expect(problemOf(await api.request('POST', '/v1/checkpoints/keep', { payload: { op: 7, seconds: 60 } }))).toMatchObject({ status: 404, detail: 'This replica does not hold the checkpoint of op 7; it holds none at the moment.' });
    api.replica.keeping = 'too many';
    expect(problemOf(await api.request('POST', '/v1/checkpoints/keep', { payload: { op: 40, seconds: 60 } })).status).toBe(409);
  });
  test('parts are read by root, by their ids and keys', async () => {
    const checkpoint = { op: opNumber(40), records: 2, extra: Buffer.of(5), top: Buffer.alloc(32, 7) };
    api.replica.parts = { root: known.root, checkpoint, topId: '\x01\x00\x00', nodes: [Buffer.from('node'), null], records: [Buffer.from('value')] };
    const read = await api.request('POST', '/v1/checkpoints/read', { payload: { op: 40, nodes: ['010000', '02ffff'], records: ['00ff'] } });
    expect([read.statusCode, read.json()]).toEqual([200, {
      checkpoint: { op: 40, root: '01'.repeat(32), records: 2, extra: '05', top: { id: '010000', hash: '07'.repeat(32) } }, nodes: ['bm9kZQ==', null], records: ['dmFsdWU='],
    }]);
    expect(api.replica.readParts).toEqual([{ op: 40, ids: ['010000', '02ffff'], keys: ['00ff'] }]);
    expect(problemOf(await api.request('POST', '/v1/checkpoints/read', { payload: { op: 40 }, headers: { 'x-vrfs-uid': '7' } })).status).toBe(403);
    for (const body of [{ op: 40, nodes: ['01'] }, { op: 40, nodes: ['01000g'] }, { op: 40, records: ['f'] }, { op: 40, records: Array.from({ length: 257 }, () => '00') }, { nodes: [] }]) {
      expect(problemOf(await api.request('POST', '/v1/checkpoints/read', { payload: body })).status).toBe(400);
    }
    expect(api.replica.readParts).toHaveLength(1);
    api.replica.parts = null;
    expect(problemOf(await api.request('POST', '/v1/checkpoints/read', { payload: { op: 7 } })).status).toBe(404);
  });
  test('a proof is of the path in the URL or of ?path=, in the checkpoint that is asked for', async () => {
    api.replica.proof = { root: known.root, checkpoint: { op: opNumber(40), records: 0, extra: Buffer.alloc(0), top: null }, lookups: [{ key: Buffer.from('k'), value: null, steps: [], page: null }] };
    const answer = await api.request('GET', '/v1/proof/a%20b/c%E9?op=40');
    expect(answer.json()).toEqual({ format: 'vrfs-proof-1', checkpoint: { op: 40, root: '01'.repeat(32), records: 0, extra: '', top: null }, lookups: [{ key: '6b', value: null, steps: [], page: null }], heads: [], pages: [] });
    await api.request('GET', '/v1/proof?path=/a%20b//c%E9');
    await api.request('GET', '/v1/proof');
    expect(api.replica.provedPaths).toEqual([{ names: ['a b', 'c\xe9'], op: 40 }, { names: ['a b', 'c\xe9'], op: null }, { names: [], op: null }]);
    expect(problemOf(await api.request('GET', '/v1/proof/a?path=b')).status).toBe(400);
    expect(problemOf(await api.request('GET', '/v1/proof/a/..%2fb')).detail).toContain("'..'");
    expect(problemOf(await api.request('GET', '/v1/proof/a?op=-1')).status).toBe(400);
  });
  test('404 for a checkpoint that is not held, with those that are', async () => {
    api.replica.checkpointsNow = { held: [{ ...known, records: 7, bytes: 900, readers: 0, idleMs: 3, keptMs: 0 }], known: [] };
    expect(problemOf(await api.request('GET', '/v1/proof/a?op=7'))).toMatchObject({ status: 404, detail: 'This replica does not hold the checkpoint of op 7; it holds 40.' });
  });
  test('403 for who may not search the way', async () => {
    await api.request('PUT', '/v1/fs/secret?type=directory');
    await api.request('PATCH', '/v1/stat/secret', { payload: { mode: '0700' } });
    expect(problemOf(await api.request('GET', '/v1/proof/secret/x', { headers: { 'x-vrfs-uid': '1000' } })).status).toBe(403);
    expect(api.replica.provedPaths).toEqual([]);
  });
});

describe('OpenAPI', () => {
  interface Document {
    readonly openapi: string;
    readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  }
  interface Operation {
    readonly operationId: string;
    readonly summary: string;
    readonly parameters?: readonly { readonly name: string; readonly in: string; readonly required?: boolean }[];
    readonly responses: Readonly<Record<string, { readonly content?: Readonly<Record<string, unknown>> }>>;
    readonly requestBody?: { readonly content: Readonly<Record<string, unknown>> };
  }
  test('names every endpoint with its parameters, bodies and problems', async () => {
    const document = (await api.request('GET', '/openapi.json')).json<Document>();
    expect(document.openapi).toBe('3.1.0');
    const operations = Object.entries(document.paths).flatMap(([path, methods]) => Object.entries(methods).map(([method, o]) => [`${method} ${path}`, o] as const));
    expect(operations.map(([name]) => name).sort()).toEqual([
      'delete /v1/fs/{path}', 'delete /v1/xattr/{path}', 'get /metrics', 'get /v1/checkpoints', 'get /v1/checkpoints/interval', 'get /v1/fs/{path}', 'get /v1/health',
      'get /v1/health/live', 'get /v1/proof/{path}', 'get /v1/readlink/{path}', 'get /v1/sessions', 'get /v1/stat/{path}', 'get /v1/statfs', 'get /v1/status', 'get /v1/xattr/{path}', 'head /v1/fs/{path}',
      'patch /v1/fs/{path}', 'patch /v1/stat/{path}', 'post /v1/checkpoints', 'post /v1/checkpoints/keep', 'post /v1/checkpoints/read', 'post /v1/rename', 'post /v1/scrub',
      'put /v1/checkpoints/interval', 'put /v1/fs/{path}', 'put /v1/xattr/{path}',
    ]);
    for (const [name, o] of operations) {
      expect(o.operationId, name).toMatch(/^[a-z]+$/);
      expect(o.summary.length, name).toBeGreaterThan(10);
      expect(o.responses.default?.content, name).toHaveProperty('application/problem+json');
      if (name.includes('{path}')) expect(o.parameters, name).toContainEqual(expect.objectContaining({ name: 'path', in: 'path', required: true }));
    }
    const put = document.paths['/v1/fs/{path}']?.put;
    expect(put?.requestBody?.content).toHaveProperty('application/octet-stream');
    expect(put?.parameters?.map((p) => p.name)).toEqual(expect.arrayContaining(['type', 'mode', 'parents', 'x-vrfs-uid']));
    expect(JSON.stringify(document.paths['/v1/checkpoints/keep']?.post?.requestBody)).toMatch(/"seconds":\{[^}]*"maximum":604800/);
    expect(new Set(operations.map(([, o]) => o.operationId)).size).toBe(operations.length);
  });
});

describe('the status page', () => {
  test('is one page that loads nothing from elsewhere', async () => {
    const page = await api.request('GET', '/');
    expect(page.headers['content-type']).toBe('text/html; charset=utf-8');
    expect(page.headers['content-security-policy']).toMatch(/default-src 'none'.*script-src 'sha256-/);
    expect(page.body).toContain('/v1/status');
    expect(page.body).not.toMatch(/(src|href)="(https?:)?\/\//);
  });
});

describe('checkpoint transfer', () => {
  const post = async (headers: Record<string, string>, payload = 'question') => await api.request('POST', CHECKPOINT_PATH, { headers, payload });
  test('looks whose it is before there is room for the body, and takes none that is longer than a question', async () => {
    const long = 'x'.repeat((4 << 20) + 1);
    expect(problemOf(await post({}, long)).status).toBe(400);
    expect(problemOf(await post({ [CLUSTER_ID_HEADER]: '0'.repeat(32) }, long)).status).toBe(409);
    expect(problemOf(await post({ [CLUSTER_ID_HEADER]: CLUSTER_ID.toString('hex'), 'content-type': 'application/octet-stream' }, long)).status).toBe(413);
  });
  test('hands the body to the store', async () => {
    const answer = await post({ [CLUSTER_ID_HEADER]: CLUSTER_ID.toString('hex'), 'content-type': 'application/octet-stream' });
    expect([answer.statusCode, answer.body, answer.headers['content-type']]).toEqual([200, 'answer to question', 'application/octet-stream']);
  });
  test('refuses another group, no group, bad requests', async () => {
    expect(problemOf(await post({})).detail).toContain(CLUSTER_ID_HEADER);
    expect(problemOf(await post({ [CLUSTER_ID_HEADER]: 'ff'.repeat(16) })).status).toBe(409);
    api.replica.refuses = new Error('unknown request type 9');
    expect(problemOf(await post({ [CLUSTER_ID_HEADER]: CLUSTER_ID.toString('hex') })).detail).toContain('unknown request type 9');
    expect(api.log.lines.map((l) => l.level)).toEqual(['warn']);
    expect(api.replica.served).toEqual([]);
  });
});

describe('consistency', () => {
  test('linearizable unless asked otherwise', async () => {
    await api.request('PUT', '/v1/fs/f', { payload: 'x' });
    await api.request('GET', '/v1/stat/f');
    expect(api.client.reads.at(-1)).toEqual({ consistency: 'linearizable' });
    const causal = await api.request('GET', '/v1/stat/f?consistency=causal', { headers: { 'x-vrfs-op': '17' } });
    expect(api.client.reads.at(-1)).toEqual({ consistency: 'causal', minOp: 17, behindMs: 2000 });
    const token = String(causal.headers['x-vrfs-op']);
    expect(token).toBe('1@0011223344556677');
    await api.request('GET', '/v1/stat/f?consistency=causal', { headers: { 'x-vrfs-op': token } });
    expect(api.client.reads.at(-1)).toEqual({ consistency: 'causal', minOp: 1, behindMs: 2000 });
    await api.request('GET', '/v1/fs/f?consistency=causal');
    expect(api.client.reads.at(-1)).toEqual({ consistency: 'causal', behindMs: 2000 });
    expect(problemOf(await api.request('GET', '/v1/stat/f?consistency=eventual')).detail).toContain('linearizable, causal');
    expect(problemOf(await api.request('GET', '/v1/stat/f?consistency=causal', { headers: { 'x-vrfs-op': 'newest' } })).detail).toContain('X-Vrfs-Op');
    expect(problemOf(await api.request('PUT', '/v1/fs/f?consistency=causal', { payload: 'x' })).status).toBe(400);
  });

  test('bounded in age, with the bound and not without; the op that it has to include counts too', async () => {
    await api.request('PUT', '/v1/fs/f', { payload: 'x' });
    await api.request('PUT', '/v1/fs/d?type=directory');
    const bounded = 'consistency=bounded&maxStalenessMs=1500';
    for (const path of ['/v1/fs/f', '/v1/fs/d', '/v1/stat/f', '/v1/xattr/f', '/v1/statfs']) {
      expect((await api.request('GET', `${path}?${bounded}`)).statusCode).toBe(200);
      expect(api.client.reads.at(-1)).toEqual({ consistency: 'bounded', maxStalenessMs: 1500, behindMs: 2000 });
    }
    await api.request('HEAD', `/v1/fs/f?${bounded}`, { headers: { 'x-vrfs-op': '17' } });
    expect(api.client.reads.at(-1)).toEqual({ consistency: 'bounded', maxStalenessMs: 1500, minOp: 17, behindMs: 2000 });
    const read = async (query: string) => problemOf(await api.request('GET', `/v1/fs/f?${query}`));
    expect(await read('consistency=bounded')).toMatchObject({ status: 400, detail: 'consistency=bounded without maxStalenessMs.', remedy: expect.stringContaining('maxStalenessMs=500') as string });
    expect(await read('maxStalenessMs=5')).toMatchObject({ status: 400, detail: 'maxStalenessMs with consistency=linearizable.' });
    expect(await read('consistency=causal&maxStalenessMs=5')).toMatchObject({ status: 400 });
    for (const wrong of ['-1', '0.5', 'soon', '4294967296']) expect(await read(`consistency=bounded&maxStalenessMs=${wrong}`)).toMatchObject({ status: 400, detail: expect.stringContaining('maxStalenessMs') as string });
  });

  test('what was seen in another group, as before a revival, is refused and not taken for something of this one', async () => {
    await api.request('PUT', '/v1/fs/f', { payload: 'x' });
    const answer = await api.request('GET', '/v1/stat/f?consistency=causal', { headers: { 'x-vrfs-op': '1@ffeeddccbbaa9988' } });
    expect(problemOf(answer)).toMatchObject({ status: 409, type: 'urn:vrfs:problem:other-group' });
    expect(problemOf(answer).detail).toContain('1@ffeeddccbbaa9988 is of group ffeeddccbbaa9988..., and this replica belongs to group 00112233445566778899aabbccddeeff');
    expect(api.client.reads).toEqual([]);
    for (const bad of ['1@', '@0011223344556677', '1@0011', '1@00112233445566zz', '281474976710656', '999999999999999', '1000000000000000']) {
      expect(problemOf(await api.request('GET', '/v1/stat/f?consistency=causal', { headers: { 'x-vrfs-op': bad } })).status).toBe(400);
    }
    const largest = 2 ** 48 - 1;
    expect((await api.request('GET', '/v1/stat/f?consistency=causal', { headers: { 'x-vrfs-op': `${largest}@0011223344556677` } })).statusCode).toBe(200);
    expect(api.client.reads).toMatchObject([{ minOp: largest }]);
  });
});

describe('a group that does not answer', () => {
  const failing = (error: Error) => {
    api.client.before = () => {
      throw error;
    };
  };
  test('not reachable: 503, try again', async () => {
    for (const error of [new NotReachable('no replica answers'), new TimedOut('no answer within 5 s'), new Busy('1000 wait'), new Closed('the client was closed', false)]) {
      failing(error);
      for (const response of [await api.request('GET', '/v1/fs/f'), await api.request('PUT', '/v1/fs/f', { payload: 'x' }), await api.request('GET', '/v1/statfs')]) {
        expect(problemOf(response)).toMatchObject({ status: 503, detail: expect.stringContaining(error.message) as string });
        expect(response.headers['retry-after']).toBe('1');
      }
    }
  });
  test('busy: 503 with the reason, and when to come again in whole seconds', async () => {
    for (const [ms, seconds] of [[50, '1'], [1000, '1'], [1001, '2']] as const) {
      failing(new Busy(`the group is busy, retry after ${ms} ms: the log is long`, ms));
      const response = await api.request('PUT', '/v1/fs/f', { payload: 'x' });
      expect(problemOf(response)).toMatchObject({ status: 503, type: 'urn:vrfs:problem:busy', detail: expect.stringContaining(`busy, retry after ${ms} ms: the log is long`) as string });
      expect(response.headers['retry-after']).toBe(seconds);
    }
  });
  test('behind: 503 with the reason', async () => {
    failing(new Behind('no replica has what was asked for: op 9 is not executed here yet (3 is)'));
    const response = await api.request('GET', '/v1/fs/f');
    expect(problemOf(response)).toMatchObject({ status: 503, type: 'urn:vrfs:problem:behind', detail: expect.stringContaining('op 9 is not executed here yet (3 is)') as string });
    expect(response.headers['retry-after']).toBe('1');
  });
  test('outcome unknown: 504, look before repeating', async () => {
    failing(new OutcomeUnknown('the session ended'));
    const p = problemOf(await api.request('PUT', '/v1/fs/f', { payload: 'x' }));
    expect(p).toMatchObject({ status: 504, type: 'urn:vrfs:problem:outcome-unknown' });
    expect(p.remedy).toContain('read the file back');
  });
  test('stopped on the way, unreadable, refused', async () => {
    for (const [error, status] of [[new Closed('the client was closed', true), 504], [new BadAnswer('of another version'), 502], [new InvalidCall('too long'), 400]] as const) {
      failing(error);
      expect(problemOf(await api.request('PUT', '/v1/fs/f', { payload: 'x' })).status).toBe(status);
    }
  });
  test('a fault of ours: 500, logged', async () => {
    failing(new TypeError('x is undefined'));
    expect(problemOf(await api.request('GET', '/v1/fs/f')).status).toBe(500);
    expect(api.log.lines).toMatchObject([{ level: 'error', data: { method: 'GET', url: '/v1/fs/f' } }]);
  });
});

describe('requests that no endpoint takes', () => {
  test('unknown places and methods', async () => {
    expect(problemOf(await api.request('GET', '/v2/fs/a')).status).toBe(404);
    expect(problemOf(await api.request('GET', '/v1/fs-other')).remedy).toContain('/v1/fs/');
    const method = await api.request('POST', '/v1/fs/a', { payload: 'x' });
    expect(problemOf(method).status).toBe(405);
    expect(method.headers.allow).toBe('GET, HEAD, PUT, PATCH, DELETE');
    expect((await api.request('GET', '/v1/rename')).headers.allow).toBe('POST');
  });
  test('parameters that are unknown or given twice', async () => {
    expect(problemOf(await api.request('PUT', '/v1/fs/a?mod=0644', { payload: 'x' })).detail).toContain("'mod'");
    expect(problemOf(await api.request('PUT', '/v1/fs/a?mode=0644&mode=0600', { payload: 'x' })).detail).toContain('mode');
    expect(problemOf(await api.request('PUT', '/v1/fs/a?mode=rw', { payload: 'x' })).detail).toContain('mode');
    expect(problemOf(await api.request('DELETE', '/v1/fs/a?recursive=maybe')).detail).toContain('recursive');
  });
  test('broken escapes', async () => {
    expect(problemOf(await api.request('GET', '/v1/stat/a%zz')).detail).toContain('%zz');
    expect(problemOf(await api.request('GET', '/v1/stat/a%00')).detail).toContain('NUL');
    expect(problemOf(await api.request('GET', '/v1/xattr/a?name=%4')).detail).toContain('%4');
    expect(problemOf(await api.request('GET', '/elsewhere/%zz')).status).toBe(400);
  });
});

describe('no such endpoint', () => {
  test.each(['/:a(', '/v1/:a(', '/x/:b(c/d', '/v1/:name', '/*', '/v1/*', '/(', '/:'])('%s', async (url) => {
    expect(problemOf(await api.request('GET', url))).toMatchObject({ status: 404, type: 'urn:vrfs:problem:no-such-endpoint' });
    expect(problemOf(await api.request('PUT', url)).status).toBe(404);
  });
  test('another method of one that there is', async () => {
    const refused = await api.request('POST', '/v1/fs/x');
    expect([problemOf(refused).status, refused.headers.allow]).toEqual([405, 'GET, HEAD, PUT, PATCH, DELETE']);
    expect((await api.request('DELETE', '/v1/checkpoints/interval?x')).headers.allow).toBe('GET, PUT');
    expect((await api.request('PUT', '/')).headers.allow).toBe('GET');
  });
});
