/** One replica as a process, for mounts over a real group. Argument: its data directory. */
import { pino } from 'pino';
import { defined } from '../../lib/assert.ts';
import { loadConfig } from '../../server/config.ts';
import { startReplica } from '../../server/replica_process.ts';

const config = await loadConfig({ flags: { data: defined(process.argv[2], 'data directory') } });
await startReplica(config, pino({ level: 'warn' }, pino.destination({ fd: 2, sync: true })));
process.send?.('listening');
