/**
 * The JSON bodies of requests: one schema each, from which come the check, the type and the document. Nothing is coerced: "0644" is octal,
 * 420 is a number, and neither is taken for the other.
 */
import { z } from 'zod';
import { MAX_INTERVAL_BYTES, MAX_INTERVAL_OPS, MIN_INTERVAL_BYTES } from '../../vr/checkpoint_interval.ts';
import { badRequest } from './problem.ts';

const U32 = z.int().min(0).max(0xffff_fffe);
const BYTES = z.union([z.string(), z.strictObject({ base64: z.string() })]).describe('Text, or {"base64": ...} for bytes that are not UTF-8.');
const TIME = z.union([
  z.string().describe('"now", or RFC 3339 with up to nine decimals.'),
  z.strictObject({ sec: z.int().min(-(2 ** 47)).max(2 ** 47 - 1), nsec: z.int().min(0).max(999_999_999) }),
]);

export const SetAttributesBody = z.strictObject({
  mode: z.union([z.string().regex(/^0?[0-7]{1,4}$/, 'has to be octal, such as "0644"'), z.int().min(0).max(0o7777)]).describe('Octal text such as "0644", or a number.').optional(),
  uid: U32.optional(),
  gid: U32.optional(),
  size: z.int().min(0).optional(),
  atime: TIME.optional(),
  mtime: TIME.optional(),
}).refine((body) => Object.keys(body).length > 0, 'has to have at least one of mode, uid, gid, size, atime, mtime');

export const RenameBody = z.strictObject({
  from: BYTES,
  to: BYTES,
  flags: z.enum(['none', 'noreplace', 'exchange']).optional(),
});

export const IntervalBody = z.strictObject({
  ops: z.int().min(1).max(MAX_INTERVAL_OPS).optional().describe('A checkpoint every so many operations.'),
  bytes: z.int().min(MIN_INTERVAL_BYTES).max(MAX_INTERVAL_BYTES).optional().describe('... or after so many bytes of log.'),
}).refine((body) => Object.keys(body).length > 0, 'has to have at least one of ops, bytes');

export type JsonSetAttributes = z.infer<typeof SetAttributesBody>;
export type JsonTime = z.infer<typeof TIME>;

export function jsonSchemaOf(schema: z.ZodType): object {
  return z.toJSONSchema(schema, { target: 'draft-2020-12' });
}

/** Throws a problem that names the field. */
export function parseJson<T>(schema: z.ZodType<T>, body: unknown): T {
  const parsed = schema.safeParse(body);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const field = issue?.path.map(String).join('.') ?? '';
  throw badRequest(`The body${field === '' ? '' : `'s '${field}'`}: ${issue?.message ?? 'is not valid'}.`, 'Send a JSON object with Content-Type: application/json; GET /openapi.json shows its fields.');
}
