import { Writable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { pointOf, type Point, type RunFigures } from '../../../cli/tune/figures.ts';
import { pageHtml } from '../../../cli/tune/page.ts';
import { plot, ticks, type PlotSpec } from '../../../cli/tune/plot.ts';
import { barText, Progress } from '../../../cli/tune/progress.ts';
import { plotsOf, recommendationText, reportJson, reportOf, tableText, type TuneReport } from '../../../cli/tune/report.ts';
import { costs } from '../../../cli/tune/run.ts';
import { tuneSettings, type TuneFlags } from '../../../cli/tune/settings.ts';
import { spreadOf } from '../../../cli/tune/statistics.ts';

const FLAGS: TuneFlags = { ops: '500,1000,off', bytes: '64M', load: 'creates', inFlight: 64, seconds: 5, repeats: 2, outage: '10s', files: 1000, replicas: 3, durability: 'disk', option: {}, recoveryUnder: '5s' };

function figures(throughput: number, recovery: number): RunFigures {
  return { throughput, p50: 1.234, p99: 12.34, p999: 123.4, cpu: 20, hold: 9, written: 300, checkpoints: 5, journal: 16 << 20, recovery, recoveryBytes: 1 << 20 };
}

async function report(flags: Partial<TuneFlags> = {}): Promise<TuneReport> {
  const settings = await tuneSettings({ ...FLAGS, ...flags });
  const points = settings.intervals.map((interval, i): Point => pointOf(interval, [figures(7000 + 1000 * i, 2 + 10 * i), figures(7010 + 1000 * i, i === 2 ? Infinity : 3 + 10 * i)]));
  return reportOf(settings, '/srv/<group> & more', points, new Date(Date.UTC(2026, 0, 2)));
}

/** Fails where a tag is not closed, or closed by another. Void elements of HTML aside. */
function elements(text: string): string[] {
  const open: string[] = [];
  const all: string[] = [];
  for (const [, close, name = '', rest = ''] of text.matchAll(/<(\/?)([a-z0-9]+)((?:\s[^<>]*?)?\/?)>/g)) {
    if (close === '/') expect(open.pop()).toBe(name);
    else {
      all.push(name);
      if (!rest.endsWith('/') && name !== 'meta') open.push(name);
    }
  }
  expect(open).toEqual([]);
  return all;
}

describe('the table', () => {
  it('has a row for each interval, the median and how far the repeats lie apart, and says under what', async () => {
    const text = tableText(await report());
    const rows = text.split('\n').filter((line) => /^(O|500|1000|off) /.test(line));
    expect(rows.map((r) => r.split(/ {2,}/)[0])).toEqual(['O', '500', '1000', 'off']);
    expect(rows[0]).toMatch(/OPS\/S +P50 ms +P99 ms +P99\.9 ms +CPU ms\/1000 +HOLD ms +B\/OP +JOURNAL +RECOVERY s +FETCHED$/);
    expect(rows[1]).toMatch(/^500 +7005 \(7000-7010\) +1\.23 +12\.3 +123 +20\.0 +9\.00 +300 +16\.0 MiB +2\.50 \(2\.00-3\.00\) +1\.0 MiB$/);
    expect(rows[3]).toMatch(/> 120 \(22\.00-> 120\)/);
    expect(text).toContain("durability disk; load 'creates', 64 in flight, 1000 files before; 2 × 5 s each; one backup down for 10 s");
    expect(text).toContain('Median of 2 runs (least-greatest).');
  });

  it('has no column for what was not measured', async () => {
    const flags: TuneFlags = { ...FLAGS };
    Reflect.deleteProperty(flags, 'recoveryUnder');
    const settings = await tuneSettings({ ...flags, outage: '0', ops: '500,1000', repeats: 1 });
    const rest = figures(100, 1);
    Reflect.deleteProperty(rest, 'recovery');
    Reflect.deleteProperty(rest, 'recoveryBytes');
    const r = reportOf(settings, '/srv', settings.intervals.map((i) => pointOf(i, [rest])), new Date());
    expect(tableText(r)).not.toMatch(/RECOVERY|FETCHED/);
    expect(tableText(r)).toContain('One run each: nothing is known of the spread.');
    expect([...plotsOf(r).keys()]).toEqual(['throughput.svg', 'latency.svg', 'checkpoint-cost.svg', 'journal.svg']);
  });

  it('comes with the recommendation, and how to set it', async () => {
    expect(recommendationText(await report())).toMatch(/^Recommended: O = 500\n[\s\S]*\nOn a running group: vrfs checkpoint interval --ops 500 --bytes 67108864$/);
    expect(recommendationText(await report({ bytes: '16M,64M' }))).toMatch(/^Recommended: O \/ B = 500 \/ 16\.0 MiB\n/);
    expect(recommendationText(await report({ recoveryUnder: '1s' }))).toMatch(/^No recommendation; closest: O = 500\nNone of the intervals measured meets the goal: a recovery under 1 s\./);
  });
});

describe('the object for programs', () => {
  it('has every repeat, null for what did not end, and is JSON without loss', async () => {
    const object = reportJson(await report());
    expect(JSON.parse(JSON.stringify(object))).toMatchObject({
      format: 'vrfs-tune', version: 1, at: '2026-01-02T00:00:00.000Z',
      points: [{ ops: 500, throughput: { median: 7005, values: [7000, 7010] } }, { ops: 1000 }, { ops: null, recovery: { median: null, min: 22, max: null, values: [22, null] } }],
      recommendation: { chosen: { ops: 500, bytes: 64 << 20 }, certain: true, judgements: [{ ops: 500, recovery: 'met' }, { ops: 1000, recovery: 'missed' }] },
    });
  });
});

describe('a plot', () => {
  const spec: PlotSpec = {
    id: 'x', title: 'A <title> & more', xLabel: 'O', yLabel: 'y', columns: ['500', '1000'], series: ['B = 1', 'B = 2'], format: String, limit: { y: 80, text: 'goal: 80' }, chosen: 1,
    points: [{ spread: spreadOf([10, 20, 40]), column: 0, series: 0 }, { spread: spreadOf([100]), column: 1, series: 0 }, { spread: spreadOf([Infinity]), column: 1, series: 1 }],
  };

  it('is well-formed, says its figures in words, and has a dot for each run that came to its end', () => {
    const svg = plot(spec);
    elements(svg);
    expect(svg).not.toContain('<title>A <');
    expect(svg).toContain('O = 500, B = 1: 20 (10 to 40). O = 1000, B = 1: 100. O = 1000, B = 2: not within the time of a run.');
    expect(svg.match(/class="filled repeat"/g)).toHaveLength(4);
    expect(svg).toContain('1000 ★');
    expect(svg).not.toMatch(/NaN|Infinity|undefined/);
  });

  it('puts what is more higher up, and whiskers from the least to the greatest', () => {
    const svg = plot(spec);
    const ys = [...svg.matchAll(/class="filled repeat" cx="[\d.]+" cy="([\d.]+)"/g)].map((m) => Number(m[1]));
    expect(ys).toEqual([...ys].sort((a, b) => b - a));
    expect(svg).toContain(`V${ys[2]}M`);
  });

  it('has ticks at round values from 0 beyond the greatest', () => {
    for (const most of [0, 0.003, 1, 7, 99, 12_345, 1e9]) {
      const all = ticks(most);
      expect(all[0]).toBe(0);
      expect(all.at(-1)).toBeGreaterThanOrEqual(most);
      expect(all.length).toBeGreaterThanOrEqual(2);
      expect(all.length).toBeLessThanOrEqual(7);
    }
    expect(ticks(12_345)).toEqual([0, 2500, 5000, 7500, 10_000, 12_500]);
  });
});

describe('the page', () => {
  it('is well-formed, loads nothing, and shows all plots, the table and the recommendation', async () => {
    const r = await report();
    const html = pageHtml(r);
    const all = elements(html.replace('<!doctype html>', ''));
    expect(all.filter((e) => e === 'svg')).toHaveLength(6);
    expect(all).not.toContain('script');
    // The name space of SVG is no address that is loaded.
    expect(html.replaceAll('http://www.w3.org/2000/svg', '')).not.toMatch(/https?:|src=|url\(|@import/);
    expect(html).toContain('<tr class="chosen"><th scope="row">500 ★</th>');
    expect(html).toContain('/srv/&#60;group&#62; &#38; more');
    const ids = [...html.matchAll(/ id="([^"]+)"/g)].map((m) => m[1]);
    expect(new Set(ids).size).toBe(ids.length);
  });
});

class Terminal extends Writable {
  text = '';
  readonly isTTY: boolean;
  constructor(isTTY: boolean) {
    super();
    this.isTTY = isTTY;
  }
  override _write(chunk: Buffer, _: string, done: () => void): void {
    this.text += chunk.toString();
    done();
  }
}

describe('progress', () => {
  it('is a bar with what is left', () => {
    expect(barText(0, 4, 'x', null)).toBe('[------------------------] 0 %  x');
    expect(barText(1, 4, 'x', 30)).toBe('[######------------------] 25 %  x, about 30 s left');
    expect(barText(4, 4, 'x', 600)).toBe('[########################] 100 %  x, about 10 min left');
  });

  it('moves on a terminal and leaves nothing, and is a line for each step elsewhere', () => {
    const show = (out: Terminal): string => {
      const progress = new Progress(out, 2);
      progress.run('O = 500');
      progress.phase('measuring');
      progress.ended('7000 operations/s');
      progress.close();
      return out.text;
    };
    const moving = show(new Terminal(true));
    expect(moving).toContain('O = 500: measuring');
    expect(moving).not.toContain('\n');
    expect(moving.endsWith('\r\x1b[2K')).toBe(true);
    expect(show(new Terminal(false))).toBe('run 1 of 2: O = 500\nrun 1 of 2: O = 500: 7000 operations/s\n');
  });
});

describe('what checkpoints cost while it was measured', () => {
  it('is the mean of the replicas, per operation that each executed', () => {
    const status = (executed: number, takes: number, busyMs: number, bytes: number, longestMs: number): Parameters<typeof costs>[0][number] => ({
      healthy: true, isPrimary: false, executed, journal: { bytes: 0 },
      checkpointCost: { takes, logBytesSince: 0, total: { records: 0, recordBytes: bytes, nodeBytes: bytes, busyMs, longestMs, wallMs: 0 } },
      recovery: { startedAt: 0, caughtUpMs: 0, bytesReceived: 0, logBytesReceived: 0, transfers: 0 },
    });
    const before = [status(1000, 1, 10, 1000, 5), status(1000, 1, 10, 1000, 5)];
    const behind = [status(3000, 3, 50, 5000, 7), status(2000, 2, 40, 2000, 6)];
    // 40 ms over 2000 operations and 30 over 1000; 8000 bytes over 2000 and 2000 over 1000.
    expect(costs(before, behind)).toEqual({ cpu: 25, hold: 7, written: 3, checkpoints: 1.5 });
  });
});
