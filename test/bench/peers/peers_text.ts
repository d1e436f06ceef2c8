/** The report of `peers` as text for people: a table for each workload, in Markdown, so that it can go into a document as it is. */
import type { Cell } from './matrix.ts';
import type { PeersReport } from './peers.ts';

function number(n: number): string {
  return n >= 100 ? Math.round(n).toLocaleString('en') : String(Number(n.toPrecision(3)));
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return [head, head.map(() => '---'), ...rows].map((r) => `| ${r.join(' | ')} |`).join('\n');
}

/** Its rate as a part of that of the probe beside it, for creates. */
function ofCeiling(c: Cell, all: readonly Cell[]): string {
  const probe = all.find((x) => x.pool === c.pool && x.workload === c.workload && x.inFlight === c.inFlight && x.system.startsWith('probe'));
  return probe === undefined ? '' : `${Math.round((100 * c.median.perSecond) / probe.median.perSecond)} %`;
}

function cellRow(c: Cell, all: readonly Cell[]): string[] {
  const m = c.median;
  const nothing = c.roundsOfNothing === 0 ? '' : `, ${c.roundsOfNothing} of ${c.rounds.length} rounds: nothing`;
  const spread = c.rounds.length > 1 ? ` (${number(c.leastPerSecond)}–${number(c.mostPerSecond)}${nothing})` : nothing;
  return [String(c.inFlight), c.system, `${number(m.perSecond)}${spread}`, ofCeiling(c, all), ...[m.p50, m.p95, m.p99, m.p999, m.max, m.serverCpu, m.loadCpu].map(number), `${Math.round(m.loadBusy * 100)} %`];
}

export function peersText(r: PeersReport): string {
  const out = [`${r.machine}; commit ${r.commit}`, JSON.stringify(r.conditions), JSON.stringify(r.versions), ''];
  for (const pool of new Set(r.cells.map((c) => c.pool))) {
    for (const workload of new Set(r.cells.map((c) => c.workload))) {
      out.push(`### ${pool}: ${workload}`, '', table(
        ['in flight', 'system', '/s (least–most)', 'of the probe', 'p50 ms', 'p95', 'p99', 'p99.9', 'max', 'servers, µs CPU each', 'load, µs CPU each', 'load, of a core'],
        r.cells.filter((c) => c.pool === pool && c.workload === workload).map((c) => cellRow(c, r.cells)),
      ), '');
    }
  }
  if (r.targets.length > 0) {
    out.push('### targets', '', table(['what', 'ratio', 'target', '', 'ours', 'theirs'], r.targets.map((t) => [t.what, number(t.ratio), t.target.replace('>=', '≥').replace('<=', '≤'), t.met ? 'met' : 'not met', `${number(t.ours)} ${t.unit}`, `${number(t.theirs)} ${t.unit}`])), '');
  }
  if (r.bytes.length > 0) out.push('### bytes per create, all replicas', '', table(['system', 'what', 'bytes'], r.bytes.map((b) => [b.system, b.what, number(b.value)])), '');
  for (const l of r.leftOut) out.push(`Left out: ${l}`);
  return `${out.join('\n').trimEnd()}\n`;
}
