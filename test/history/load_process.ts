/** A program full of clients: asked to stop, it lets what is under way end and says that it is done. Its parent writes the history. */
import { Prng } from '../../lib/prng.ts';
import { defined } from '../../lib/assert.ts';
import { HistoryClient } from './client.ts';
import { Loop, Numbers, READERS, type LoadSettings } from './load.ts';
import type { Operation } from './operations.ts';

export type FromLoad = { readonly type: 'operations'; readonly operations: readonly Operation[] } | { readonly type: 'done' };

const REPORT_MS = 100;

async function main(): Promise<void> {
  const settings = JSON.parse(defined(process.argv[2], 'the settings')) as LoadSettings;
  let stopped = false;
  process.on('message', () => { stopped = true; });
  process.on('disconnect', () => { process.exit(1); });
  const tell = (message: FromLoad): Promise<void> => new Promise((resolve, reject) => {
    if (process.send === undefined) throw new Error('load_process is started by a run, with an IPC channel');
    process.send(message, undefined, {}, (error) => { if (error === null) resolve(); else reject(error); });
  });

  let gathered: Operation[] = [];
  const report = (): Promise<void> => {
    const operations = gathered;
    gathered = [];
    return operations.length === 0 ? Promise.resolve() : tell({ type: 'operations', operations });
  };
  const reporting = setInterval(() => { void report(); }, REPORT_MS);

  const client = new HistoryClient(BigInt(settings.start));
  const replicas = settings.urls.map((url, i) => ({ replica: i + 1, url }));
  const numbers = new Numbers(settings.index, settings.programs);
  const prng = new Prng(settings.seed);
  let values = 0;
  const fresh = (): string => `${settings.index}.${values++}`;
  const record = (o: Operation): void => { gathered.push(o); };
  // Each replica has loops of both kinds.
  const loop = (kind: 'mixed' | 'reads', nth: number): Loop => new Loop({ client, replicas, prng: prng.fork(), numbers, fresh, record }, nth % replicas.length, kind);
  const loops = [
    ...Array.from({ length: settings.loops }, (_, i) => loop('mixed', settings.index * settings.loops + i)),
    ...Array.from({ length: READERS }, (_, i) => loop('reads', settings.index * READERS + i)),
  ];
  await Promise.all(loops.map((loop) => loop.run(() => stopped)));
  clearInterval(reporting);
  await report();
  await tell({ type: 'done' });
  await client.close();
  process.removeAllListeners('disconnect');
  process.disconnect();
}

await main();
