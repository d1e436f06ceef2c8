/** Ports for servers of tests that have to be known before they listen. */
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type Server } from 'node:net';

/**
 * Below those that the kernel gives to whoever connects (net.ipv4.ip_local_port_range, from 32768 on): one of these could be taken by any
 * connection of another test between the moment that it was found free and the moment that it is listened on.
 */
const FIRST = 10_240;
const LAST = 32_767;
const ATTEMPTS = 1000;

/** The server if the port was free, listening. */
async function listenOn(port: number): Promise<Server | null> {
  const server = createServer().listen(port, '127.0.0.1');
  try {
    await once(server, 'listening');
    return server;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') return null;
    throw error;
  }
}

/** So many free ports of this machine's loopback. */
export async function freePorts(count: number): Promise<number[]> {
  const ports: number[] = [];
  const servers: Server[] = [];
  for (let attempt = 0; ports.length < count; attempt++) {
    if (attempt > ATTEMPTS) throw new Error(`no ${count} free ports between ${FIRST} and ${LAST}`);
    const port = randomInt(FIRST, LAST + 1);
    const server = await listenOn(port);
    if (server === null) continue;
    ports.push(port);
    servers.push(server);
  }
  await Promise.all(servers.map((s) => new Promise((closed) => { s.close(closed); })));
  return ports;
}
