/** The program of a mount process; started by start_mount.ts. */
import { VrfsClient } from '../client/client.ts';
import { mountProcessMain } from './mount_process.ts';

mountProcessMain((job) => VrfsClient.connect({
  servers: job.servers,
  name: `mount ${job.mountpoint}`,
  holdsOpens: true,
  requestTimeoutMs: job.requestTimeoutMs,
}));
