/**
 * One plot as SVG text: medians joined by a line, a whisker from the least to the greatest repeat, every repeat as a dot. Stands alone as a file and
 * inside a page; its colours follow the reader's (light or dark), shapes tell the series apart without colour, each point says its figures.
 */
import type { Spread } from './statistics.ts';

export interface PlotPoint {
  readonly spread: Spread;
  /** Which of `columns`, and which of `series`. */
  readonly column: number;
  readonly series: number;
}

export interface PlotSpec {
  /** Letters and hyphens: ids in the document begin with it. */
  readonly id: string;
  readonly title: string;
  readonly xLabel: string;
  readonly yLabel: string;
  /** Labels of the values of O, in order. */
  readonly columns: readonly string[];
  /** Names; one is not shown. */
  readonly series: readonly string[];
  readonly points: readonly PlotPoint[];
  readonly format: (y: number) => string;
  /** A goal: a dashed line with its text. */
  readonly limit: { readonly y: number; readonly text: string } | null;
  /** The column that is recommended. */
  readonly chosen: number | null;
}

const WIDTH = 720;
const HEIGHT = 380;
const LEFT = 78;
const RIGHT = 24;
const TOP = 52;
const BOTTOM = 66;
const SHAPES = 4;

const STYLE = `
.vp{--ink:#1b2230;--soft:#586274;--grid:#e1e6ee;--paper:#fff;--mark:#eef4ff;--s0:#1d5fd1;--s1:#b4470f;--s2:#0b7a6b;--s3:#7b3fc4;--goal:#a11d3a;font:13px system-ui,sans-serif}
@media (prefers-color-scheme:dark){.vp{--ink:#e4e8f0;--soft:#a3adbd;--grid:#343b48;--paper:#181c23;--mark:#222c40;--s0:#7db0ff;--s1:#ffa36b;--s2:#4fd1bb;--s3:#c9a2ff;--goal:#ff8fa3}}
.vp .paper{fill:var(--paper)}.vp text{fill:var(--ink)}.vp .soft{fill:var(--soft)}.vp .grid{stroke:var(--grid)}.vp .mark{fill:var(--mark)}
.vp .title{font-size:16px;font-weight:600}.vp .goal{stroke:var(--goal);stroke-width:1.5;stroke-dasharray:6 4}.vp .goaltext{fill:var(--goal)}
.vp .line{fill:none;stroke-width:2}.vp .whisker{stroke-width:1.5}.vp .repeat{opacity:.45}
.vp .s0{stroke:var(--s0);color:var(--s0)}.vp .s1{stroke:var(--s1);color:var(--s1)}.vp .s2{stroke:var(--s2);color:var(--s2)}.vp .s3{stroke:var(--s3);color:var(--s3)}
.vp .filled{fill:currentColor;stroke:none}
`.replaceAll('\n', '');

export function escapeXml(text: string): string {
  return text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
}

/** Round values from 0 to at least `most`: at most seven. */
export function ticks(most: number): number[] {
  const top = most > 0 && Number.isFinite(most) ? most : 1;
  const magnitude = 10 ** Math.floor(Math.log10(top / 5));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * magnitude).find((s) => top / s <= 6) ?? top;
  const count = Math.ceil(top / step - 1e-9);
  return Array.from({ length: count + 1 }, (_, i) => Number((i * step).toPrecision(12)));
}

const n = (x: number): string => String(Math.round(x * 10) / 10);

class Plot {
  readonly #spec: PlotSpec;
  readonly #ticks: readonly number[];

  constructor(spec: PlotSpec) {
    this.#spec = spec;
    const finite = spec.points.flatMap(({ spread }) => spread.values.filter((v) => Number.isFinite(v)));
    this.#ticks = ticks(Math.max(...finite, spec.limit?.y ?? 0, 0));
  }

  #x(column: number, series = 0): number {
    const width = (WIDTH - LEFT - RIGHT) / this.#spec.columns.length;
    const aside = (series - (this.#spec.series.length - 1) / 2) * Math.min(12, width / (this.#spec.series.length + 1));
    return LEFT + width * (column + 0.5) + aside;
  }
  #y(value: number): number {
    const top = this.#ticks.at(-1) ?? 1;
    return HEIGHT - BOTTOM - (Math.min(value, top) / top) * (HEIGHT - TOP - BOTTOM);
  }

  draw(): string {
    const { id, title } = this.#spec;
    return [
      `<svg xmlns="http://www.w3.org/2000/svg" class="vp" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-labelledby="${id}-title ${id}-desc">`,
      `<title id="${id}-title">${escapeXml(title)}</title>`,
      `<desc id="${id}-desc">${escapeXml(this.#description())}</desc>`,
      `<style>${STYLE}</style>`,
      `<rect class="paper" width="${WIDTH}" height="${HEIGHT}" rx="8"/>`,
      ...this.#frame(),
      ...this.#limit(),
      ...this.#spec.series.flatMap((_, s) => this.#series(s)),
      ...this.#legend(),
      '</svg>',
      '',
    ].join('\n');
  }

  #text(spread: Spread): string {
    const { format } = this.#spec;
    const show = (v: number): string => (Number.isFinite(v) ? format(v) : 'not within the time of a run');
    return spread.values.length < 2 ? show(spread.median) : `${show(spread.median)} (${show(spread.min)} to ${show(spread.max)})`;
  }

  #nameOf(p: PlotPoint): string {
    const { columns, series } = this.#spec;
    return `O = ${columns[p.column] ?? ''}${series.length > 1 ? `, ${series[p.series] ?? ''}` : ''}`;
  }

  /** All there is to see, in words. */
  #description(): string {
    const { yLabel, points } = this.#spec;
    return `${yLabel}; the median of the repeats (least to greatest). ${points.map((p) => `${this.#nameOf(p)}: ${this.#text(p.spread)}`).join('. ')}.`;
  }

  #frame(): string[] {
    const { title, xLabel, yLabel, columns, format, chosen } = this.#spec;
    const out = [`<text class="title" x="${LEFT}" y="28">${escapeXml(title)}</text>`];
    if (chosen !== null) {
      const width = (WIDTH - LEFT - RIGHT) / columns.length;
      out.push(`<rect class="mark" x="${n(LEFT + width * chosen)}" y="${TOP}" width="${n(width)}" height="${HEIGHT - TOP - BOTTOM}"/>`);
    }
    for (const t of this.#ticks) {
      const y = n(this.#y(t));
      out.push(`<line class="grid" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${y}" y2="${y}"/>`, `<text class="soft" x="${LEFT - 8}" y="${n(this.#y(t) + 4)}" text-anchor="end">${escapeXml(format(t))}</text>`);
    }
    for (const [i, label] of columns.entries()) out.push(`<text x="${n(this.#x(i, (this.#spec.series.length - 1) / 2))}" y="${HEIGHT - BOTTOM + 20}" text-anchor="middle">${escapeXml(label)}${i === chosen ? ' ★' : ''}</text>`);
    out.push(
      `<text class="soft" x="${(LEFT + WIDTH - RIGHT) / 2}" y="${HEIGHT - BOTTOM + 42}" text-anchor="middle">${escapeXml(xLabel)}</text>`,
      `<text class="soft" transform="translate(18 ${(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)" text-anchor="middle">${escapeXml(yLabel)}</text>`,
    );
    return out;
  }

  #limit(): string[] {
    const { limit } = this.#spec;
    if (limit === null) return [];
    const y = this.#y(limit.y);
    return [`<line class="goal" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${n(y)}" y2="${n(y)}"/>`, `<text class="goaltext" x="${WIDTH - RIGHT - 4}" y="${n(y - 6)}" text-anchor="end">${escapeXml(limit.text)}</text>`];
  }

  #series(series: number): string[] {
    const own = this.#spec.points.filter((p) => p.series === series && Number.isFinite(p.spread.median)).sort((a, b) => a.column - b.column);
    const path = own.map((p, i) => `${i === 0 ? 'M' : 'L'}${n(this.#x(p.column, series))} ${n(this.#y(p.spread.median))}`).join('');
    return [`<g class="s${series % SHAPES}">`, ...(own.length > 1 ? [`<path class="line" d="${path}"/>`] : []), ...own.flatMap((p) => this.#point(p)), '</g>'];
  }

  #point(p: PlotPoint): string[] {
    const { spread, column, series } = p;
    const x = this.#x(column, series);
    const out = [`<g class="point"><title>${escapeXml(`${this.#nameOf(p)}: ${this.#text(spread)}`)}</title>`];
    if (spread.max > spread.min) {
      const [low, high] = [n(this.#y(spread.min)), n(this.#y(spread.max))];
      out.push(`<path class="whisker" d="M${n(x)} ${low}V${high}M${n(x - 7)} ${low}h14M${n(x - 7)} ${high}h14"/>`);
    }
    for (const v of spread.values) if (Number.isFinite(v)) out.push(`<circle class="filled repeat" cx="${n(x)}" cy="${n(this.#y(v))}" r="2.5"/>`);
    out.push(shape(series, x, this.#y(spread.median)), '</g>');
    return out;
  }

  #legend(): string[] {
    const { series } = this.#spec;
    if (series.length < 2) return [];
    return series.map((name, s) => {
      const x = WIDTH - RIGHT - 130 * (series.length - s);
      return `<g class="s${s % SHAPES}">${shape(s, x + 8, 24)}<text x="${x + 20}" y="28">${escapeXml(name)}</text></g>`;
    });
  }
}

function shape(series: number, x: number, y: number): string {
  switch (series % SHAPES) {
    case 0: return `<circle class="filled" cx="${n(x)}" cy="${n(y)}" r="5"/>`;
    case 1: return `<rect class="filled" x="${n(x - 5)}" y="${n(y - 5)}" width="10" height="10"/>`;
    case 2: return `<path class="filled" d="M${n(x)} ${n(y - 6)}l6 11h-12z"/>`;
    default: return `<path class="filled" d="M${n(x)} ${n(y - 7)}l7 7l-7 7l-7 -7z"/>`;
  }
}

export function plot(spec: PlotSpec): string {
  return new Plot(spec).draw();
}
