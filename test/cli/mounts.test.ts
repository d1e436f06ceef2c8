/** What the options of `vrfs mount` come to, without a mount. */
import { Command } from 'commander';
import { Readable, Writable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { mountCommands } from '../../cli/commands/mounts.ts';
import type { Io } from '../../cli/io.ts';
import type { MountHandle, MountRequest } from '../../mount/start_mount.ts';

async function requested(...args: string[]): Promise<MountRequest> {
  const sink = new Writable({ write: (_chunk, _encoding, done) => { done(); } });
  const io: Io = { stdin: Readable.from([]), stdout: sink, stderr: sink, env: {}, cwd: '/tmp', commandLine: null };
  const program = new Command('vrfs').exitOverride().configureOutput({ writeErr: () => undefined });
  const requests: MountRequest[] = [];
  const handle: MountHandle = { pid: 1, mountpoint: '/tmp/m', binding: 'kernel', unmount: () => Promise.resolve(), exited: Promise.resolve({ code: 0, signal: null }) };
  mountCommands(program, io, (request) => {
    requests.push(request);
    return Promise.resolve(handle);
  });
  await program.parseAsync(['mount', 'm', '--background', ...args], { from: 'user' });
  return requests[0] as MountRequest;
}

describe('vrfs mount', () => {
  it('passes its options on', async () => {
    expect(await requested('--timeout', '5000', '--attribute-cache', '250', '--log-level', 'debug', '--cache', 'open', '--server', 'h:1')).toMatchObject({
      servers: ['h:1'], requestTimeoutMs: 5000, logLevel: 'debug', options: { attributeCacheMs: 250, cache: 'open' },
    });
  });

  it('waits a minute for the group unless told otherwise, as its help says', async () => {
    expect(await requested()).toMatchObject({ requestTimeoutMs: 60_000, logFile: '/dev/null', options: {} });
  });

  it('refuses a log level that there is not', async () => {
    await expect(requested('--log-level', 'loud')).rejects.toThrow("'loud' is invalid");
  });
});
