/**
 * `host:port`, with IPv6 addresses in brackets: what the members of a group, and those who look for them, call each other by. What is none
 * may never become a member's: it is part of the log from then on.
 */
import type { Decoded } from './bytes.ts';

export interface HostPort {
  readonly host: string;
  readonly port: number;
}

/** Of an address, bytes: a host name has 253 at most, and a configuration of such addresses fits a log entry many times over. */
export const MAX_ADDRESS_BYTES = 255;

const FORM = /^(?:\[([0-9a-fA-F:.]+)\]|([\w.-]+)):(\d{1,5})$/;
/** Of what is no address, so much is repeated in an error. */
const SHOWN = 60;

/** Port 0 is "any free one", for listening. The reason says what an address looks like. */
export function parseAddress(text: string): Decoded<HostPort> {
  const match = text.length <= MAX_ADDRESS_BYTES ? FORM.exec(text) : null;
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || port > 65_535) {
    return { ok: false, reason: `${shown(text)} is not an address: write host:port, for example 127.0.0.1:7101 or [::1]:7101` };
  }
  return { ok: true, value: { host, port } };
}

/** The same for an address that somebody is to connect to, which "any free port" is not. */
export function parseDestination(text: string): Decoded<HostPort> {
  const parsed = parseAddress(text);
  if (parsed.ok && parsed.value.port === 0) return { ok: false, reason: `${shown(text)} is not an address to connect to: its port is 0` };
  return parsed;
}

/** Of anything, in one line. */
function shown(text: string): string {
  return text.length <= SHOWN ? JSON.stringify(text) : `${JSON.stringify(text.slice(0, SHOWN))}... (${text.length} characters, ${MAX_ADDRESS_BYTES} at most)`;
}

export function formatAddress({ host, port }: HostPort): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
