// Where the time goes in .cpuprofile files: self time by function and by file.
//   node scripts/profile_summary.mjs FILE.cpuprofile... [--top 25]
import { readFileSync } from 'node:fs';

const args = process.argv.slice(2);
const topAt = args.indexOf('--top');
const top = topAt >= 0 ? Number(args.splice(topAt, 2)[1]) : 25;
if (args.length === 0) {
  console.error('usage: node scripts/profile_summary.mjs FILE.cpuprofile... [--top N]');
  process.exit(2);
}
const shorten = (url) => url.replace(/^file:\/\//, '').replace(/^.*\/(dist|node_modules)\//, '$1/') || '(native)';

/** Time of each function of ours with all that it calls, once a sample however deep it recurses. */
function inclusive(nodes, samples, timeDeltas) {
  const parent = new Map();
  for (const n of nodes) for (const child of n.children ?? []) parent.set(child, n.id);
  const byId = new Map(nodes.map((n) => [n.id, n]));
  const namesOf = new Map();
  const stack = (id) => {
    let names = namesOf.get(id);
    if (names === undefined) {
      const { callFrame } = byId.get(id);
      names = parent.has(id) ? new Set(stack(parent.get(id))) : new Set();
      const where = shorten(callFrame.url);
      if (where.startsWith('dist/') && callFrame.functionName !== '') names.add(`${callFrame.functionName} ${where}`);
      namesOf.set(id, names);
    }
    return names;
  };
  const total = new Map();
  samples.forEach((id, i) => {
    for (const name of stack(id)) total.set(name, (total.get(name) ?? 0) + timeDeltas[i]);
  });
  return total;
}

for (const file of args) {
  const { nodes, samples, timeDeltas } = JSON.parse(readFileSync(file, 'utf8'));
  const byId = new Map(nodes.map((n) => [n.id, n]));
  const byFunction = new Map();
  const byFile = new Map();
  let busy = 0;
  let total = 0;
  samples.forEach((id, i) => {
    const { callFrame } = byId.get(id);
    const time = timeDeltas[i];
    total += time;
    if (callFrame.functionName === '(idle)') return;
    busy += time;
    const where = shorten(callFrame.url);
    const name = `${callFrame.functionName || '(anonymous)'} ${where}:${callFrame.lineNumber + 1}`;
    byFunction.set(name, (byFunction.get(name) ?? 0) + time);
    byFile.set(where, (byFile.get(where) ?? 0) + time);
  });
  const show = (map, n) => {
    for (const [name, time] of [...map].sort((a, b) => b[1] - a[1]).slice(0, n)) {
      console.log(`  ${((100 * time) / busy).toFixed(1).padStart(5)} %  ${name}`);
    }
  };
  console.log(`${file}: busy ${((100 * busy) / total).toFixed(0)} % of ${(total / 1e6).toFixed(1)} s`);
  show(byFile, 15);
  console.log('  -- self');
  show(byFunction, top);
  console.log('  -- with what they call (own code only)');
  show(inclusive(nodes, samples, timeDeltas), top);
}
