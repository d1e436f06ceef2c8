/** A file system over a group in memory, for tests; each test has a directory of its own. */
import { afterAll, afterEach, beforeAll, beforeEach, vi } from 'vitest';
import { FileSystem } from '../../client/file_system.ts';
import { VrfsClient } from '../../client/client.ts';
import { FsError } from '../../client/fs_error.ts';
import { FakeGroup } from './fake_group.ts';

export let group: FakeGroup;
export let client: VrfsClient;
/** Root's. */
export let fs: FileSystem;
/** Of another user. */
export let ann: FileSystem;
/** The directory of the test. */
export let home = '';
let round = 0;

/** Sets these for the tests of a file. */
export function overGroup(): void {
  beforeAll(async () => {
    group = await FakeGroup.start();
    client = await VrfsClient.connect({ servers: group.servers });
    fs = new FileSystem(client, { credentials: { uid: 0, gid: 0, groups: [] } });
    ann = new FileSystem(client, { credentials: { uid: 1000, gid: 1000, groups: [] } });
  });
  afterAll(async () => {
    await client.close();
    await group.stop();
  });
  beforeEach(async () => {
    home = `/t${round++}`;
    await fs.mkdir(home);
  });
  afterEach(() => {
    group.intercept = () => undefined;
    vi.restoreAllMocks();
  });
}

export async function failure(promise: Promise<unknown>): Promise<FsError> {
  const error: unknown = await promise.then(() => null, (e: unknown) => e);
  if (!(error instanceof FsError)) throw new Error(`an FsError was expected, not ${String(error)}`);
  return error;
}

export async function codeOf(promise: Promise<unknown>): Promise<string> {
  return (await failure(promise)).code;
}
