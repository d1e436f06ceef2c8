/**
 * A line chart with both axes logarithmic, as SVG text: figures over operations in flight, from one to hundreds, where systems differ by factors. Medians
 * joined by a line, a whisker from the least to the greatest round. Colours follow the reader's (light or dark); shapes tell the series apart without colour.
 */
export interface ChartPoint {
  readonly x: number;
  readonly y: number;
  readonly least: number;
  readonly most: number;
}
export interface ChartSeries {
  readonly name: string;
  readonly points: readonly ChartPoint[];
}
export interface ChartSpec {
  readonly title: string;
  readonly xLabel: string;
  readonly yLabel: string;
  readonly series: readonly ChartSeries[];
}

const WIDTH = 760;
const HEIGHT = 420;
const LEFT = 76;
const RIGHT = 210;
const TOP = 48;
const BOTTOM = 56;

const LIGHT = ['#1d5fd1', '#7b3fc4', '#0b7a6b', '#b4470f', '#a11d3a', '#6b6500', '#586274', '#8a5a2b'];
const DARK = ['#7db0ff', '#c9a2ff', '#4fd1bb', '#ffa36b', '#ff8fa3', '#d6cf5a', '#a3adbd', '#d9b28a'];
const SHAPES = [
  'M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z', 'M-4 -4h8v8h-8z', 'M0 -5l5 9h-10z', 'M0 -6l6 6l-6 6l-6 -6z',
  'M0 5l5 -9h-10z', 'M-5 -2h3v-3h4v3h3v4h-3v3h-4v-3h-3z', 'M-5 -2h10v4h-10z', 'M-2 -5h4v10h-4z',
];

function style(): string {
  const rules = (colours: readonly string[]): string => colours.map((c, i) => `.c${i}{stroke:${c};fill:${c}}`).join('');
  return `text{font:13px system-ui,sans-serif;fill:#1b2230}.paper{fill:#fff}.grid{stroke:#e1e6ee}.soft{fill:#586274}.title{font-size:16px;font-weight:600}.line{fill:none;stroke-width:2}${rules(LIGHT)}`
    + `@media (prefers-color-scheme:dark){text{fill:#e4e8f0}.paper{fill:#181c23}.grid{stroke:#343b48}.soft{fill:#a3adbd}${rules(DARK)}}.line{fill:none}`;
}

export function escapeXml(text: string): string {
  return text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
}

/** 1, 2, 5, 10 ... from at most `least` to at least `most`; both above 0. */
export function logTicks(least: number, most: number): number[] {
  const out: number[] = [];
  for (let power = Math.floor(Math.log10(least)); power <= Math.ceil(Math.log10(most)); power++) {
    for (const m of [1, 2, 5]) out.push(Number((m * 10 ** power).toPrecision(6)));
  }
  const from = out.findLastIndex((t) => t <= least);
  const to = out.findIndex((t) => t >= most);
  return out.slice(Math.max(0, from), to + 1);
}

const n = (value: number): string => String(Math.round(value * 10) / 10);

function shown(value: number): string {
  return value >= 1000 ? `${Number((value / 1000).toPrecision(3))}k` : String(Number(value.toPrecision(3)));
}

/** A least value of 0 is drawn down to the axis. @throws RangeError when there is nothing to draw, or another value that has no logarithm */
export function chart(spec: ChartSpec): string {
  const points = spec.series.flatMap((s) => s.points);
  if (points.length === 0 || points.some((p) => !(p.x > 0) || !(p.y > 0) || !(p.least >= 0) || !Number.isFinite(p.most))) throw new RangeError(`'${spec.title}': a chart takes finite values above 0, at least one`);
  const yTicks = logTicks(Math.min(...points.map((p) => (p.least > 0 ? p.least : p.y))), Math.max(...points.map((p) => p.most)));
  const xTicks = [...new Set(points.map((p) => p.x))].sort((a, b) => a - b);
  const scale = (ticks: readonly number[], from: number, to: number): ((v: number) => number) => {
    const [low, high] = [Math.log(ticks[0] ?? 1), Math.log(ticks.at(-1) ?? 1)];
    return (v) => (high === low ? (from + to) / 2 : from + ((Math.max(Math.log(v), low) - low) / (high - low)) * (to - from));
  };
  const x = scale(xTicks, LEFT + 20, WIDTH - RIGHT - 20);
  const y = scale(yTicks, HEIGHT - BOTTOM, TOP);
  const middle = (LEFT + WIDTH - RIGHT) / 2;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img">`,
    `<title>${escapeXml(spec.title)}</title><style>${style()}</style><rect class="paper" width="${WIDTH}" height="${HEIGHT}" rx="8"/>`,
    `<text class="title" x="${LEFT}" y="28">${escapeXml(spec.title)}</text>`,
    ...yTicks.map((t) => `<line class="grid" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${n(y(t))}" y2="${n(y(t))}"/><text class="soft" x="${LEFT - 8}" y="${n(y(t) + 4)}" text-anchor="end">${shown(t)}</text>`),
    ...xTicks.map((t) => `<text x="${n(x(t))}" y="${HEIGHT - BOTTOM + 20}" text-anchor="middle">${t}</text>`),
    `<text class="soft" x="${middle}" y="${HEIGHT - 12}" text-anchor="middle">${escapeXml(spec.xLabel)}</text>`,
    `<text class="soft" transform="translate(16 ${(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)" text-anchor="middle">${escapeXml(spec.yLabel)}</text>`,
    ...spec.series.flatMap((s, i) => drawn(s, i, x, y)),
    '</svg>', '',
  ].join('\n');
}

function drawn(s: ChartSeries, index: number, x: (v: number) => number, y: (v: number) => number): string[] {
  const colour = `c${index % LIGHT.length}`;
  const shape = SHAPES[index % SHAPES.length] ?? '';
  const sorted = [...s.points].sort((a, b) => a.x - b.x);
  const legend = TOP + 10 + 24 * index;
  return [
    `<path class="line ${colour}" d="${sorted.map((p, i) => `${i === 0 ? 'M' : 'L'}${n(x(p.x))} ${n(y(p.y))}`).join('')}"/>`,
    ...sorted.map((p) => `<g class="${colour}" transform="translate(${n(x(p.x))} ${n(y(p.y))})"><title>${escapeXml(`${s.name}, ${p.x}: ${shown(p.y)} (${shown(p.least)} to ${shown(p.most)})`)}</title>`
      + `<path d="M0 ${n(y(p.least) - y(p.y))}V${n(y(p.most) - y(p.y))}"/><path d="${shape}"/></g>`),
    `<g class="${colour}" transform="translate(${WIDTH - RIGHT + 20} ${legend})"><path d="${shape}"/></g><text x="${WIDTH - RIGHT + 34}" y="${legend + 4}">${escapeXml(s.name)}</text>`,
  ];
}
