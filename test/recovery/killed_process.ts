/**
 * A process that ends itself with SIGKILL in the midst of a checkpoint or of a transfer: at a step of the database (dying_store.ts), or a few microseconds into
 * a write. Prints how many steps there were when it lives.
 *
 *   argv: one JSON object, KilledTask
 */
import { request } from 'node:http';
import { EMPTY } from '../../lib/bytes.ts';
import { digest, opNumber } from '../../lib/ids.ts';
import { RecordStore } from '../../checkpoint/record_store.ts';
import { applyRound } from './rounds.ts';
import { DyingStore, type Death } from './dying_store.ts';
import { FETCHER_LIMITS, type KilledTask } from './killed_task.ts';

function killed(): never {
  process.kill(process.pid, 'SIGKILL');
  for (;;); // not even one more instruction of it
}

function ask(port: number, body: Buffer): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ port, host: '127.0.0.1', method: 'POST', agent: false }, (answer) => {
      const parts: Buffer[] = [];
      answer.on('data', (part: Buffer) => parts.push(part));
      answer.on('end', () => { resolve(Buffer.concat(parts)); });
      answer.on('error', reject);
    });
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}

const task = JSON.parse(process.argv[2] ?? '') as KilledTask;
const death: Death = {
  die: killed,
  whileWriting: () => {
    // LevelDB writes in a thread of its own meanwhile.
    const end = process.hrtime.bigint() + BigInt(task.microseconds) * 1000n;
    while (process.hrtime.bigint() < end);
    killed();
  },
};
let dying: DyingStore | undefined;
const store = await RecordStore.open({
  directory: task.directory, fetcher: FETCHER_LIMITS,
  openStore: async (directory) => {
    dying = await DyingStore.open(directory, death);
    return dying;
  },
});
if (dying === undefined) throw new Error('the store opens its database');
dying.steps = 0;
dying.left = task.left ?? Infinity;
const { work } = task;
if (work.type === 'take') {
  applyRound(work.op, work.changes, [store]);
  await store.take(opNumber(work.op), EMPTY);
} else {
  await store.fetch({ op: opNumber(work.op), root: digest(work.root) }, [{ name: 'donor', request: (body) => ask(work.port, body) }]);
}
process.stdout.write(String(dying.steps));
dying.left = Infinity;
await store.close();
