/** What checkpoints cost each replica, as `vrfs status --verbose` shows it. From GET /v1/status. */
import { z } from 'zod';
import { sizeText, table } from './format.ts';

const Figures = z.looseObject({ records: z.number(), recordBytes: z.number(), nodeBytes: z.number(), busyMs: z.number(), longestMs: z.number(), wallMs: z.number() });

export const CheckpointStatus = z.looseObject({
  checkpointInterval: z.looseObject({ ops: z.number(), bytes: z.number(), since: z.number() }),
  checkpointCost: z.looseObject({
    last: Figures.nullable(),
    takes: z.number(),
    recent: z.looseObject({ spanMs: z.number(), takes: z.number(), mean: Figures.nullable(), share: z.number() }),
    total: Figures,
    logOpsSince: z.number(),
    logBytesSince: z.number(),
  }),
});
export type CheckpointStatus = z.infer<typeof CheckpointStatus>;

function figures(f: z.infer<typeof Figures> | null): string[] {
  if (f === null) return ['-', '-', '-', '-', '-', '-'];
  return [String(Math.round(f.records)), sizeText(Math.round(f.recordBytes)), sizeText(Math.round(f.nodeBytes)), f.busyMs.toFixed(1), f.longestMs.toFixed(1), f.wallMs.toFixed(0)];
}

/** Two lines a replica: its last checkpoint, and the mean of the last minutes (of HOLD the longest). */
export function costTable(replicas: readonly { readonly id: number; readonly status: CheckpointStatus }[]): string {
  const rows = replicas.flatMap(({ id, status: { checkpointInterval: interval, checkpointCost: cost } }) => {
    const { recent } = cost;
    return [
      [String(id), `${interval.ops} ops`, 'last', ...figures(cost.last), '', sizeText(cost.logBytesSince)],
      ['', sizeText(interval.bytes), `${recent.takes} in ${Math.round(recent.spanMs / 1000)} s`, ...figures(recent.mean), `${(recent.share * 100).toFixed(1)} %`, ''],
    ];
  });
  return table([['ID', 'INTERVAL', 'CHECKPOINTS', 'RECORDS', 'BYTES', 'NODES', 'CPU ms', 'HOLD ms', 'WALL ms', 'SHARE', 'LOG SINCE'], ...rows]);
}
