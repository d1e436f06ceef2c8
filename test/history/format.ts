/**
 * The file: JSON lines. First a header, then one line an operation, in the order in which they ended. docs/TESTING.md describes
 * every field, for other checkers. What is read is validated as a whole: a checker that believes a broken file proves nothing.
 */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { kindOf, type Operation } from './operations.ts';

export const FORMAT = 'vrfs-history';
/** 2: reads have a consistency. */
export const VERSION = 2;

export class HistoryFormatError extends Error {
  override readonly name = 'HistoryFormatError';
}

const HeaderSchema = z.strictObject({
  format: z.literal(FORMAT),
  version: z.literal(VERSION),
  /** Wall clock, for people. */
  started: z.string(),
  seconds: z.number(),
  replicas: z.number().int(),
  seed: z.number().int(),
  faults: z.array(z.string()),
  time: z.literal('ns'),
});
export type Header = Readonly<z.infer<typeof HeaderSchema>>;

const text = z.string().min(1);
const content = z.string().nullable();
const none = z.strictObject({});
const time = z.number().int().min(0);
const common = { process: z.number().int().min(0), object: z.string().regex(/^(register|directory)\/.+$/), invoke: time, replica: z.number().int().min(1) };

/** Of each operation: its arguments and what it may answer. */
const CALLS = {
  read: { arguments: none, result: content },
  write: { arguments: z.strictObject({ value: text }), result: z.null() },
  cas: { arguments: z.strictObject({ expected: content, value: text }), result: z.boolean() },
  create: { arguments: z.strictObject({ name: text, content: text }), result: z.enum(['ok', 'EEXIST']) },
  rename: { arguments: z.strictObject({ from: text, to: text, replace: z.boolean() }), result: z.enum(['ok', 'ENOENT', 'EEXIST']) },
  delete: { arguments: z.strictObject({ name: text }), result: z.enum(['ok', 'ENOENT']) },
  list: { arguments: none, result: z.array(text) },
  get: { arguments: z.strictObject({ name: text }), result: content },
} as const;
type Name = keyof typeof CALLS;
const REGISTER_CALLS: ReadonlySet<string> = new Set<Name>(['read', 'write', 'cas']);
const READ_CALLS: ReadonlySet<string> = new Set<Name>(['read', 'list', 'get']);

const weak = { consistency: z.enum(['causal', 'bounded']).optional(), maxStalenessMs: z.number().min(0).optional() };

const lineSchemas = new Map(Object.entries(CALLS).map(([operation, call]) => {
  const head = { ...common, ...(READ_CALLS.has(operation) ? weak : {}), operation: z.literal(operation), arguments: call.arguments };
  return [operation, z.discriminatedUnion('outcome', [
    z.strictObject({ ...head, outcome: z.literal('ok'), result: call.result, return: time }),
    z.strictObject({ ...head, outcome: z.literal('fail'), error: text, return: time }),
    z.strictObject({ ...head, outcome: z.literal('info'), error: text, return: z.null() }),
  ])] as const;
}));

export interface History {
  readonly header: Header;
  readonly operations: readonly Operation[];
}

export function headerLine(header: Omit<Header, 'format' | 'version' | 'time'>): string {
  const { started, seconds, replicas, seed, faults } = header;
  return `${JSON.stringify({ format: FORMAT, version: VERSION, started, seconds, replicas, seed, faults, time: 'ns' } satisfies Header)}\n`;
}

export function operationLine(o: Operation): string {
  const { process, object, operation, arguments: args, consistency, maxStalenessMs, outcome, invoke, replica } = o;
  const end = o.outcome === 'ok' ? { result: o.result } : { error: o.error };
  return `${JSON.stringify({ process, object, operation, arguments: args, consistency, maxStalenessMs, outcome, ...end, invoke, return: o.return, replica })}\n`;
}

function issues(error: z.ZodError): string {
  return error.issues.map((i) => `${i.path.length === 0 ? 'the line' : i.path.map(String).join('.')}: ${i.message}`).join('; ');
}

function parseOperation(value: unknown, where: string): Operation {
  const operation = typeof value === 'object' && value !== null && 'operation' in value ? value.operation : undefined;
  const schema = typeof operation === 'string' ? lineSchemas.get(operation) : undefined;
  if (schema === undefined) throw new HistoryFormatError(`${where}: the operation is ${JSON.stringify(operation)}; known are ${Object.keys(CALLS).join(', ')}`);
  const parsed = schema.safeParse(value);
  if (!parsed.success) throw new HistoryFormatError(`${where} (${String(operation)}): ${issues(parsed.error)}`);
  // The schema of each operation ties its arguments to its result; the union over all of them is what TypeScript cannot see.
  const o = parsed.data as Operation;
  const wrong = contradiction(o);
  if (wrong !== null) throw new HistoryFormatError(`${where} (${o.operation}): ${wrong}`);
  return o;
}

function contradiction(o: Operation): string | null {
  if ((kindOf(o.object) === 'register') !== REGISTER_CALLS.has(o.operation)) return `${o.object} has no operation ${o.operation}`;
  if (o.return !== null && o.return < o.invoke) return `it returned (${o.return}) before it was invoked (${o.invoke})`;
  if (o.operation === 'rename' && o.arguments.from === o.arguments.to) return `from and to are both ${o.arguments.from}; such a rename changes nothing and is not part of the model`;
  if ((o.consistency === 'bounded') !== (o.maxStalenessMs !== undefined)) return `maxStalenessMs belongs to a read with consistency "bounded", and each such has it`;
  return null;
}

/** Operations of one process follow one another; after an unknown outcome there is none. */
function checkProcesses(operations: readonly Operation[]): void {
  const last = new Map<number, Operation>();
  for (const o of [...operations].sort((a, b) => a.invoke - b.invoke)) {
    const before = last.get(o.process);
    if (before !== undefined && (before.return === null || before.return > o.invoke)) {
      throw new HistoryFormatError(`process ${o.process} invokes ${o.operation} at ${o.invoke} ns while its ${before.operation} of ${before.invoke} ns ${before.return === null ? 'never returned' : `runs until ${before.return} ns`}: a process has one operation under way; give it another number after an unknown outcome`);
    }
    last.set(o.process, o);
  }
}

/** Throws HistoryFormatError: which line, what is wrong with it. `origin` names the file in messages. */
export function parseHistory(source: string, origin: string): History {
  const lines = source.split('\n');
  if (lines.at(-1) === '') lines.pop();
  else throw new HistoryFormatError(`${origin} does not end with a line break: it was cut off while it was written`);
  const values = lines.map((line, i): unknown => {
    try {
      return JSON.parse(line);
    } catch (error) {
      throw new HistoryFormatError(`${origin} line ${i + 1} is not JSON: ${(error as Error).message}`, { cause: error });
    }
  });
  const header = HeaderSchema.safeParse(values[0]);
  if (!header.success) throw new HistoryFormatError(`${origin} line 1 is not the header of a ${FORMAT} file of version ${VERSION}: ${issues(header.error)}`);
  const operations = values.slice(1).map((value, i) => parseOperation(value, `${origin} line ${i + 2}`));
  checkProcesses(operations);
  return { header: header.data, operations };
}

export function readHistory(path: string): History {
  let source: string;
  try {
    source = readFileSync(path, 'utf8');
  } catch (error) {
    throw new HistoryFormatError(`the history ${path} cannot be read: ${(error as Error).message}`, { cause: error });
  }
  return parseHistory(source, path);
}
