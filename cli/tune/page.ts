/** The report as one HTML page: nothing is loaded from elsewhere, no script; light or dark as its reader has it. */
import { escapeXml } from './plot.ts';
import { FIGURES } from './figures.ts';
import { chosenName, conditionsText, plotsOf, recommendationText, rowsOf, type TuneReport } from './report.ts';

const STYLE = `
:root { color-scheme: light dark; --ink: #1b2230; --soft: #586274; --paper: #f5f7fa; --card: #fff; --line: #dbe1ea; --mark: #eef4ff; --accent: #1d5fd1 }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8f0; --soft: #a3adbd; --paper: #101318; --card: #181c23; --line: #343b48; --mark: #222c40; --accent: #7db0ff } }
body { margin: 0; font: 16px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--paper) }
main { max-width: 76rem; margin: 0 auto; padding: 1.5rem 1rem 4rem }
h1 { font-size: 1.5rem; margin: 0 0 .25rem } h2 { font-size: 1.15rem; margin: 2rem 0 .6rem }
.soft { color: var(--soft); white-space: pre-line; margin: .2rem 0 }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 1rem 1.2rem }
.answer { border-left: 5px solid var(--accent) } .answer p { margin: .35rem 0 } .answer p:first-child { font-size: 1.2rem; font-weight: 600 }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr)); gap: 1rem }
.plots figure { margin: 0; border: 1px solid var(--line); border-radius: 10px; overflow: hidden; background: var(--card) } .plots svg { display: block; width: 100%; height: auto }
.scroll { overflow-x: auto; padding: 0 } table { border-collapse: collapse; width: 100%; font-size: .92rem; font-variant-numeric: tabular-nums }
th, td { text-align: right; padding: .45rem .8rem; border-bottom: 1px solid var(--line); white-space: nowrap } th:first-child { text-align: left } tr:last-child > * { border-bottom: 0 }
thead th { color: var(--soft); font-weight: 600 } tr.chosen > * { background: var(--mark) } td small { color: var(--soft); display: block }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; margin: .8rem 0 0; font-size: .9rem } dt { font-weight: 600 } dd { margin: 0; color: var(--soft) }
`;

function tableHtml(r: TuneReport): string {
  const { head, rows, columns } = rowsOf(r);
  const chosen = chosenName(r);
  const cell = (text: string): string => {
    const [, middle = text, spread] = /^(.*?)(?: \((.*)\))?$/.exec(text) ?? [];
    return `<td>${escapeXml(middle)}${spread === undefined ? '' : `<small>${escapeXml(spread.replace('-', ' – '))}</small>`}</td>`;
  };
  const body = rows.map(([name = '', ...cells]) => `<tr${name === chosen ? ' class="chosen"' : ''}><th scope="row">${escapeXml(name)}${name === chosen ? ' ★' : ''}</th>${cells.map(cell).join('')}</tr>`);
  return [
    '<div class="card scroll"><table>',
    `<caption hidden>Figures by checkpoint interval: median, and least to greatest of the repeats</caption>`,
    `<thead><tr>${head.map((h) => `<th scope="col">${escapeXml(h)}</th>`).join('')}</tr></thead>`,
    `<tbody>${body.join('\n')}</tbody></table></div>`,
    `<dl>${columns.map((c) => `<dt>${escapeXml(c.head)}</dt><dd>${escapeXml(FIGURES[c.name])}</dd>`).join('')}</dl>`,
  ].join('\n');
}

export function pageHtml(r: TuneReport): string {
  const answer = recommendationText(r).split('\n').map((line) => `<p>${escapeXml(line)}</p>`).join('\n');
  const plots = [...plotsOf(r).values()].map((svg) => `<figure>${svg}</figure>`).join('\n');
  const { repeats } = r.settings;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>vrfs tune: the checkpoint interval</title>
<style>${STYLE}</style>
</head>
<body>
<main>
<h1>The checkpoint interval, measured</h1>
<p class="soft">${escapeXml(conditionsText(r))}</p>
<h2>Recommendation</h2>
<section class="card answer">
${answer}
</section>
<h2>Plots</h2>
<p class="soft">${repeats > 1 ? `Medians of ${repeats} runs, whiskers from the least to the greatest, a dot for each run.` : 'One run each: nothing is known of the spread.'}${r.recommendation.chosen === null ? '' : ' ★ marks what is recommended.'}</p>
<div class="plots">
${plots}
</div>
<h2>Figures</h2>
${tableHtml(r)}
</main>
</body>
</html>
`;
}
