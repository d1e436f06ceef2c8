// `npm test`: everything that has to be green, on a fresh machine. Sets up what the tests need, then runs the gates
// (build, lint, import rules) and the suites, and closes with one line: N passed, N failed.
//   node scripts/test.mjs [unit|e2e|gates]...     a part of it
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const CI = process.env.CI === 'true';
const parts = new Set(process.argv.slice(2));
const wants = (part) => parts.size === 0 || parts.has(part);

// program → Debian package
const PROGRAMS = {
  git: 'git', rsync: 'rsync', sqlite3: 'sqlite3', tar: 'tar', find: 'findutils', du: 'coreutils', diff: 'diffutils',
  python3: 'python3', vim: 'vim', mount: 'mount', setpriv: 'util-linux', unshare: 'util-linux', fusermount3: 'fuse3', ip: 'iproute2',
};

const has = (program) => spawnSync('sh', ['-c', `command -v ${program}`], { stdio: 'ignore' }).status === 0;

/** Names of what is missing after trying to install it. */
function setUp() {
  let missing = Object.keys(PROGRAMS).filter((p) => !has(p));
  if (missing.length > 0 && process.getuid?.() === 0 && has('apt-get')) {
    const packages = [...new Set(missing.map((p) => PROGRAMS[p]))];
    console.log(`installing for the end-to-end tests: ${packages.join(' ')}`);
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
    spawnSync('apt-get', ['update', '-qq'], { stdio: 'inherit', env });
    spawnSync('apt-get', ['install', '-y', '-qq', '--no-install-recommends', ...packages], { stdio: 'inherit', env });
    missing = missing.filter((p) => !has(p));
  }
  if (!existsSync('/dev/fuse')) missing.push('/dev/fuse');
  return missing;
}

let passed = 0;
let failed = 0;
const failures = [];
const notRun = [];

function gate(name, command, args) {
  console.log(`\n== ${name}`);
  const ok = spawnSync(command, args, { stdio: 'inherit' }).status === 0;
  if (ok) passed++;
  else {
    failed++;
    failures.push(name);
  }
  return ok;
}

function suite(name, args, env = {}) {
  console.log(`\n== ${name}`);
  const directory = mkdtempSync(join(tmpdir(), 'vrfs-test-'));
  const report = join(directory, 'report.json');
  const run = spawnSync('npx', ['vitest', 'run', ...args, '--reporter=default', '--reporter=json', `--outputFile.json=${report}`], {
    stdio: 'inherit',
    env: { ...process.env, ...env },
  });
  if (existsSync(report)) {
    const result = JSON.parse(readFileSync(report, 'utf8'));
    passed += result.numPassedTests;
    failed += result.numFailedTests;
    for (const file of result.testResults) {
      // A test that was not run is named; in CI it counts as a failure.
      for (const t of file.assertionResults) {
        if (t.status === 'passed' || t.status === 'failed') continue;
        const what = `${file.name.split('/test/').pop()}: ${t.fullName}`;
        notRun.push(what);
        if (CI) {
          failed++;
          failures.push(`not run: ${what}`);
        }
      }
      for (const t of file.assertionResults) if (t.status === 'failed') failures.push(`${file.name.split('/test/').pop()}: ${t.fullName}`);
      // A file that does not load has no assertions, and fails all the same.
      if (file.status === 'failed' && file.assertionResults.length === 0) {
        failed++;
        failures.push(file.name);
      }
    }
    const counted = result.numFailedTests + result.testResults.filter((f) => f.status === 'failed' && f.assertionResults.length === 0).length;
    if (run.status !== 0 && counted === 0) {
      failed++;
      failures.push(`${name}: the runner ended with ${run.status} without a failing test`);
    }
    if (result.numTotalTests === 0) {
      failed++;
      failures.push(`${name}: no test was run`);
    }
  } else {
    failed++;
    failures.push(`${name}: the runner wrote no report`);
  }
  rmSync(directory, { recursive: true, force: true });
}

if (gate('build', 'npx', ['tsc', '-p', 'tsconfig.json'])) {
  if (wants('gates')) {
    gate('lint', 'npx', ['eslint', '.']);
    gate('import rules', 'npx', ['depcruise', '--config', '.dependency-cruiser.cjs', 'lib', 'vr', 'fsservice', 'checkpoint', 'client', 'server', 'mount', 'cli', 'test']);
  }
  if (wants('unit')) suite('unit tests and simulator', []);
  if (wants('e2e')) {
    const missing = setUp();
    if (missing.length > 0) {
      console.log(`\nthe end-to-end tests need ${missing.join(', ')}, which this machine lacks${CI ? '; in CI that is a failure' : ''}`);
      const listed = spawnSync('npx', ['vitest', 'list', '--config', 'vitest.e2e.config.ts'], { encoding: 'utf8' });
      const names = listed.stdout.split('\n').filter((line) => line.includes(' > '));
      notRun.push(...names);
      if (CI) {
        failed += Math.max(1, names.length);
        failures.push(`end-to-end tests: missing ${missing.join(', ')}`);
      }
    } else {
      suite('end-to-end tests', ['--config', 'vitest.e2e.config.ts']);
    }
  }
}

if (notRun.length > 0) console.log(`\nnot run:\n${notRun.map((t) => `  ${t}`).join('\n')}`);
if (failures.length > 0) console.log(`\nfailed:\n${failures.map((f) => `  ${f}`).join('\n')}`);
console.log(`\n${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 && passed > 0 ? 0 : 1;
