/** One replica in this process, with its HTTP API: what `vrfs serve` and every child of `vrfs start` runs. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { VrfsClient } from '../client/client.ts';
import { parseAddress } from '../lib/address.ts';
import { onlyTheMoment } from '../lib/promises.ts';
import { loadConfig, type ConfigSources, type ServerConfig } from '../server/config.ts';
import { DataDirectoryError } from '../server/data_directory.ts';
import { prepareToJoin, type JoinRequest } from '../server/join.ts';
import { createLog, type Log } from '../server/log.ts';
import { startReplica } from '../server/replica_process.ts';
import type { AttachHttp, HttpHandle, RunningReplica } from '../server/running_replica.ts';
import type { ExitCode } from './exit_codes.ts';
import { EnvironmentError, failureOf, UsageError } from './failure.ts';
import { onTheDiskOf } from './local_disk.ts';

/** What a replica tells the process that supervises it, over the IPC channel that fork made. `final`: it will never run again, whatever is done. */
export type FromReplica =
  | { readonly type: 'ready'; readonly address: string; readonly httpAddress: string | null }
  | { readonly type: 'failed'; readonly message: string; readonly remedy?: string; readonly exitCode: ExitCode; readonly final?: true };

/** Runs until SIGINT, SIGTERM or the end of the supervisor. */
export async function serve(sources: ConfigSources, join?: Omit<JoinRequest, 'directory'>): Promise<void> {
  let running: RunningReplica;
  const orders = new Orders();
  try {
    const config = await loadConfig(sources);
    if (join !== undefined && !config.http) throw new UsageError('a node that joins needs its HTTP API: the other members fetch checkpoints there, and vrfs members looks there how far it has caught up. Leave out --no-http (http, VRFS_HTTP)');
    running = await onTheDiskOf(config.data, async () => {
      const log = createLog(config);
      if (join !== undefined) await prepareToJoin({ ...join, directory: config.data }, log);
      // It takes part before its HTTP API is up, and so has to be stopped in order by then.
      const attachHttp: AttachHttp = (started) => {
        orders.heed(started);
        return httpOf(config, log)(started);
      };
      return startReplica(config, log, config.http ? { attachHttp } : {});
    });
  } catch (error) {
    orders.end();
    const { message, remedy, exitCode } = failureOf(error);
    const final = error instanceof DataDirectoryError && error.code === 'left';
    await tell({ type: 'failed', message, exitCode, ...(remedy === undefined ? {} : { remedy }), ...(final ? { final } : {}) });
    throw error;
  }
  orders.heed(running);
  if (!orders.given) await tell({ type: 'ready', address: running.address, httpAddress: running.httpAddress });
  await running.stopped;
  orders.end();
  if (process.connected) process.disconnect();
}

function httpOf(config: ServerConfig, log: Log): AttachHttp {
  return async (running): Promise<HttpHandle> => {
    const at = parseAddress(config.httpListen ?? running.addresses.httpAddress);
    if (!at.ok) throw new EnvironmentError(at.reason, 'give the address of the HTTP API as host:port (--http-listen)');
    // Not before: the replica and its links to the others need not wait for it. Both this and what follows hold the event loop for a while, and what has come meanwhile goes between them.
    const { startHttp } = await import('../server/http/server.ts');
    await nextTurn();
    // The handlers are a client of the group as any other; the nearest way in is this replica itself, and what it has need not be fetched elsewhere.
    const servers = [...new Set([running.address, ...running.configuration().members.map((m) => m.address)])];
    const client = VrfsClient.open({ servers, clusterId: running.clusterId, readFrom: running.addresses.address, name: `http ${running.memberId}` });
    try {
      const http = await startHttp({ running, client, host: at.value.host, port: at.value.port, log });
      return {
        address: http.address,
        close: async () => {
          await http.close();
          await client.close();
        },
      };
    } catch (error) {
      await client.close();
      throw error;
    }
  };
}

/** Resolves when the message is on its way, or nobody listens. */
function tell(message: FromReplica): Promise<void> {
  return new Promise((resolve) => {
    if (process.send === undefined || !process.connected) resolve();
    else process.send(message, undefined, {}, () => { resolve(); });
  });
}

/** To stop: from a terminal, a service manager, or a supervisor, whose channel breaks when it is killed. */
class Orders {
  #running: RunningReplica | null = null;
  given = false;
  readonly #stop = (): void => {
    this.given = true;
    // `stopped` of the replica has the outcome.
    this.#running?.stop().catch(onlyTheMoment);
  };

  /** From now on; before, there is nothing that has to be stopped in order. */
  heed(running: RunningReplica): void {
    if (this.#running !== null) return;
    this.#running = running;
    process.on('SIGINT', this.#stop);
    process.on('SIGTERM', this.#stop);
    process.on('disconnect', this.#stop);
    // It may have broken while this replica was starting.
    if (process.send !== undefined && !process.connected) this.#stop();
  }

  end(): void {
    process.off('SIGINT', this.#stop);
    process.off('SIGTERM', this.#stop);
    process.off('disconnect', this.#stop);
  }
}
