/** One JSON request to the HTTP API of one replica, for commands that ask each replica about itself. */
import type { z } from 'zod';
import type { Member } from '../../vr/configuration.ts';

export type Answered<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly error: string; readonly status: number | null };

const AS_ROOT = { 'x-vrfs-uid': '0', 'x-vrfs-gid': '0' } as const;

export function getJson<T>(member: Member, path: string, schema: z.ZodType<T>, timeoutMs: number): Promise<Answered<T>> {
  return ask(member, path, {}, schema, timeoutMs);
}

export function postJson<T>(member: Member, path: string, body: object, schema: z.ZodType<T>, timeoutMs: number): Promise<Answered<T>> {
  return ask(member, path, { body: JSON.stringify(body) }, schema, timeoutMs);
}

async function ask<T>(member: Member, path: string, sent: { readonly body?: string }, schema: z.ZodType<T>, timeoutMs: number): Promise<Answered<T>> {
  const url = `http://${member.httpAddress}${path}`;
  let text: string;
  let status: number;
  // It takes longer to load than the rest of a command, whose help needs none of it.
  const { request } = await import('undici');
  try {
    const answer = await request(url, {
      headersTimeout: timeoutMs, bodyTimeout: timeoutMs, signal: AbortSignal.timeout(timeoutMs),
      ...(sent.body === undefined ? { headers: AS_ROOT } : { method: 'POST', body: sent.body, headers: { ...AS_ROOT, 'content-type': 'application/json' } }),
    });
    status = answer.statusCode;
    text = await answer.body.text();
  } catch (error) {
    return { ok: false, status: null, error: `${url} does not answer: ${error instanceof Error ? error.message || error.name : String(error)}` };
  }
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    return { ok: false, status, error: `${url} answered ${status} and no JSON: ${error instanceof Error ? error.message : String(error)}` };
  }
  if (status >= 300) return { ok: false, status, error: `${url} answered ${status}: ${detailOf(json)}` };
  const parsed = schema.safeParse(json);
  if (parsed.success) return { ok: true, value: parsed.data };
  const issue = parsed.error.issues[0];
  return { ok: false, status, error: `${url} answers as another version does: ${issue?.path.join('.') ?? ''} ${issue?.message ?? ''}` };
}

/** Of a problem (RFC 9457). */
function detailOf(json: unknown): string {
  return typeof json === 'object' && json !== null && 'detail' in json ? String(json.detail) : JSON.stringify(json).slice(0, 200);
}
