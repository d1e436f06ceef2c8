/** Bytes that processes sent over TCP, as the kernel counts them for each open connection (`ss -ti`). The same way for every system. */
import { execFileSync } from 'node:child_process';

export interface Traffic {
  /** Between the servers. */
  readonly replicas: number;
  /** From clients to the servers, and back. */
  readonly requests: number;
  readonly replies: number;
}

interface SocketLine {
  readonly local: string;
  readonly peer: string;
  readonly pid: number;
  readonly sent: number;
  readonly received: number;
}

/** Output of `ss -tinpHO`; connections that nobody owns any more are left out. */
export function parseSockets(output: string): SocketLine[] {
  return output.split('\n').flatMap((line) => {
    const [, , , local, peer] = line.trim().split(/\s+/);
    const pid = /pid=(\d+)/.exec(line)?.[1];
    if (local === undefined || peer === undefined || pid === undefined) return [];
    const count = (name: string): number => Number(new RegExp(`\\b${name}:(\\d+)`).exec(line)?.[1] ?? 0);
    return [{ local: plain(local), peer: plain(peer), pid: Number(pid), sent: count('bytes_sent'), received: count('bytes_received') }];
  });
}

/** An IPv4 address as a socket of IPv6 shows it. */
function plain(address: string): string {
  return address.replace(/^\[::ffff:([\d.]+)\]/, '$1');
}

export function trafficOf(sockets: readonly SocketLine[], servers: readonly number[]): Traffic {
  const own = sockets.filter((s) => servers.includes(s.pid));
  const addresses = new Set(own.map((s) => s.local));
  const sum = (of: readonly SocketLine[], side: 'sent' | 'received'): number => of.reduce((n, s) => n + s[side], 0);
  const clients = own.filter((s) => !addresses.has(s.peer));
  return { replicas: sum(own.filter((s) => addresses.has(s.peer)), 'sent'), requests: sum(clients, 'received'), replies: sum(clients, 'sent') };
}

export function traffic(servers: readonly number[]): Traffic {
  const output = execFileSync('ss', ['-tinpHO', 'state', 'connected', 'exclude', 'listening'], { encoding: 'utf8', maxBuffer: 64 << 20 });
  return trafficOf(parseSockets(output), servers);
}
