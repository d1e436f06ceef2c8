/** Ctrl-C while the replicas of `vrfs start` come up, with a small program in their place that never does. */
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable, Writable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { failureOf } from '../../cli/failure.ts';
import type { Io } from '../../cli/io.ts';
import { start } from '../../cli/start/start.ts';
import { until } from '../client/fake_group.ts';
import { freePorts } from '../support/ports.ts';
import { temporaryDirectory } from '../server/support.ts';

class Sink extends Writable {
  text = '';
  override _write(chunk: Buffer, _: string, done: () => void): void {
    this.text += chunk.toString();
    done();
  }
}

async function starting(program: string): Promise<{ readonly ended: Promise<unknown>; readonly out: Sink }> {
  const directory = await temporaryDirectory();
  const started = join(directory, 'started');
  const main = join(directory, 'main.mjs');
  await writeFile(main, `import { writeFileSync } from 'node:fs'; ${program} setInterval(() => {}, 1000); writeFileSync(${JSON.stringify(started)}, '');`);
  const [port = 0, httpPort = 0] = await freePorts(2);
  const out = new Sink();
  const io: Io = { stdin: Readable.from([]), stdout: out, stderr: new Sink(), env: {}, cwd: directory, commandLine: null };
  const data = join(directory, 'data');
  await mkdir(data);
  const ended = start({ data, replicas: 1, port, httpPort, mount: false, mountAsked: false, mountpoint: 'mnt', settings: {}, main }, io).then(() => null, (error: unknown) => failureOf(error));
  await until(() => existsSync(started));
  return { ended, out };
}

describe('vrfs start, while its replicas come up', () => {
  it('stops at the first Ctrl-C', async () => {
    const { ended, out } = await starting('');
    process.emit('SIGINT', 'SIGINT');
    expect(await ended).toBeNull();
    expect(out.text).toMatch(/made a new group of 1 replica in .*; it stops when that one does \(with 3 replicas it goes on without one\)/);
    expect(out.text).toContain('stopping: unmounting, then the replicas');
  });

  it('kills them at the second, and says so', async () => {
    const handlers = process.listenerCount('SIGINT');
    const { ended, out } = await starting("process.on('SIGTERM', () => {});");
    process.emit('SIGINT', 'SIGINT');
    await until(() => out.text.includes('stopping:'));
    process.emit('SIGINT', 'SIGINT');
    expect(await ended).toMatchObject({ exitCode: 130 });
    expect(process.listenerCount('SIGINT')).toBe(handlers);
  });
});
