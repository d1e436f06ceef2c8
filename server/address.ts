/** `host:port`, with IPv6 addresses in brackets. */
import type { Decoded } from '../lib/bytes.ts';

export interface HostPort {
  readonly host: string;
  readonly port: number;
}

/** Port 0 is "any free one", for listening. */
export function parseAddress(text: string): Decoded<HostPort> {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^\s:[\]]+)):(\d{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || port > 65_535) {
    return { ok: false, reason: `"${text}" is not an address: write host:port, for example 127.0.0.1:7101 or [::1]:7101` };
  }
  return { ok: true, value: { host, port } };
}

export function formatAddress({ host, port }: HostPort): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
