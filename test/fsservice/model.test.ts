/** The state machine against the model: long random sequences, every result compared, and the whole tree at the end. */
import { describe, expect, it } from 'vitest';
import type { Ino } from '../../lib/ids.ts';
import { Prng } from '../../lib/prng.ts';
import { decodeCounters } from '../../fsservice/counters.ts';
import { COUNTERS_KEY } from '../../fsservice/keys.ts';
import { DEFAULT_LIMITS, XATTR_TOTAL_MAX, type Limits } from '../../fsservice/limits.ts';
import { decodeResult, encodeCall, isWriteOperation, OPCODES } from '../../fsservice/operation_codec.ts';
import { LINK_MAX, NAME_MAX, PATH_MAX, XATTR_NAME_MAX, XATTR_SIZE_MAX, type Call, type Operation, type OperationType, type Result } from '../../fsservice/operations.ts';
import { defined } from '../../lib/assert.ts';
import { checkResult } from '../checkers/compare_results.ts';
import { ModelFileSystem } from '../checkers/model_fs.ts';
import type { Node } from '../checkers/model_tree.ts';
import { at, nameOf, ROOT, World } from './harness.ts';
import { randomCredentials, randomOperation } from './random_calls.ts';

interface Run {
  readonly seed: number;
  readonly steps: number;
  readonly bigFiles: boolean;
  readonly sessions: boolean;
  /** How likely a collect step is after each operation, when there is something to collect; or all of them are taken. */
  readonly collect: number | 'all';
  readonly limits?: Limits;
}

class Duel {
  readonly world: World;
  readonly model: ModelFileSystem;
  /** What was met, to see that the sequences reach everything. */
  readonly outcomes = new Map<string, number>();
  readonly #sessions: number[] = [];
  readonly #rng: Prng;
  readonly #run: Run;

  constructor(run: Run) {
    this.#run = run;
    this.world = new World(run.limits);
    this.model = new ModelFileSystem(run.limits);
    this.#rng = new Prng(run.seed);
    this.#openRoot();
  }

  /** So that all users have a place to work in. */
  #openRoot(): void {
    this.call({ credentials: ROOT, operation: { type: 'setattr', at: at(''), follow: true, set: { mode: 0o777 } } });
  }

  get settled(): boolean {
    return this.world.service.housekeeping() === undefined;
  }

  call(call: Call): void {
    const { world } = this;
    const type: OperationType = call.operation.type;
    const session = this.#sessions.length > 0 ? this.#rng.pick(this.#sessions) : 0;
    const body = encodeCall(call);
    let bytes: Buffer;
    if (isWriteOperation(call.operation)) bytes = world.service.execute(world.entry('request', body, session));
    else bytes = world.service.query(body, world.time);
    const decoded = decodeResult(type, bytes);
    if (!decoded.ok) throw new Error(decoded.reason);
    const wrong = checkResult(this.model, call, { op: world.op, time: world.time, session }, decoded.value as Result<OperationType>, this.settled);
    const result = decoded.value as Result<OperationType>;
    this.outcomes.set(`${type} ${result.ok ? 'ok' : nameOf(result.errno)}`, (this.outcomes.get(`${type} ${result.ok ? 'ok' : nameOf(result.errno)}`) ?? 0) + 1);
    if (wrong !== null) throw new Error(`seed ${this.#run.seed}: ${wrong}`);
  }

  step(): void {
    const rng = this.#rng;
    const maxIno = Math.max(2, ...this.model.nodes.keys());
    const [paths, directories] = this.#paths();
    if (this.#run.sessions && rng.chance(0.05)) this.#sessionEvent();
    this.call({ credentials: randomCredentials(rng), operation: randomOperation(rng, { maxIno, paths, directories, bigFiles: this.#run.bigFiles }) });
    if (rng.chance(0.02)) this.#openRoot();
    const { collect } = this.#run;
    if (collect === 'all') this.world.collectAll();
    else if (rng.chance(collect)) this.world.collectStep();
    if (this.settled) this.model.settled();
  }

  #paths(): [string[], string[]] {
    const paths: string[] = [];
    const directories = [''];
    const visit = (node: Node, prefix: string): void => {
      for (const [name, child] of node.children) {
        const path = prefix === '' ? name : `${prefix}/${name}`;
        if (path.length > 30) continue;
        paths.push(path);
        if (child.type === 'directory') {
          directories.push(path);
          visit(child, path);
        }
      }
    };
    visit(this.model.root, '');
    return [paths, directories];
  }

  #sessionEvent(): void {
    const rng = this.#rng;
    if (this.#sessions.length < 3 && rng.chance(0.2)) {
      const session = this.world.startSession();
      this.model.sessionStarted(session, 1);
      this.#sessions.push(session);
    } else if (this.#sessions.length > 0 && rng.chance(0.15)) {
      const session = rng.pick(this.#sessions);
      this.#sessions.splice(this.#sessions.indexOf(session), 1);
      this.world.endSession(session);
      this.model.sessionEnded(session);
    } else {
      const open: Ino[] = [];
      for (const ino of this.model.nodes.keys()) if (rng.chance(0.2)) open.push(ino as Ino);
      this.call({ credentials: ROOT, operation: { type: 'keepAlive', seenOp: Math.max(0, this.world.op - rng.below(4)), open } });
    }
  }

  finish(): void {
    const { world, model } = this;
    for (const session of this.#sessions) {
      world.endSession(session);
      model.sessionEnded(session);
    }
    world.collectAll();
    world.check();
    model.settled();
    this.call({ credentials: ROOT, operation: { type: 'statfs' } });
    this.#compareTree(model.root);
  }

  #compareTree(node: Node): void {
    this.call({ credentials: ROOT, operation: { type: 'getattr', at: at('', node.ino as Ino), follow: false } });
    this.call({ credentials: ROOT, operation: { type: 'listxattr', at: at('', node.ino as Ino), follow: false } });
    if (node.type === 'file') {
      for (let offset = 0; offset < node.length; offset += 1 << 20) {
        this.call({ credentials: ROOT, operation: { type: 'read', at: at('', node.ino as Ino), offset, length: 1 << 20 } });
      }
    }
    if (node.type !== 'directory') return;
    this.call({ credentials: ROOT, operation: { type: 'readdir', at: at('', node.ino as Ino), after: Buffer.alloc(0), limit: 1024, attributes: true } });
    for (const child of node.children.values()) this.#compareTree(child);
  }
}

function duel(run: Run): Duel {
  const d = new Duel(run);
  for (let i = 0; i < run.steps; i++) {
    d.step();
    if (i % 50 === 0) d.world.check();
  }
  d.finish();
  return d;
}

/** Reasons that say something about the rule of the operation itself. Limits are below. */
const REFUSALS: readonly string[] = [
  'create EACCES', 'create EEXIST', 'create EISDIR', 'getattr ELOOP', 'getxattr ENODATA', 'getxattr ERANGE', 'link EEXIST', 'link EPERM', 'mkdir EEXIST', 'mknod EPERM', 'putFile EAGAIN', 'putFile EISDIR',
  'read EISDIR', 'readdir ENOTDIR', 'readlink EINVAL', 'removeTree EPERM', 'removexattr ENODATA', 'removexattr EPERM', 'rename EBUSY', 'rename EEXIST', 'rename EINVAL', 'rename EISDIR', 'rename ENOTDIR', 'rename ENOTEMPTY',
  'rename EPERM', 'rmdir ENOTEMPTY', 'rmdir ENOTDIR', 'setattr EPERM', 'setattr EINVAL', 'setxattr EEXIST', 'setxattr ENODATA', 'setxattr EPERM', 'unlink EISDIR', 'unlink EPERM', 'write EISDIR', 'write ESTALE',
];

describe('random sequences: the state machine answers as the model does', () => {
  const met = new Map<string, number>();
  const duels = (first: number, behind: number, run: Omit<Run, 'seed'>): void => {
    for (let seed = first; seed < behind; seed++) for (const [what, n] of duel({ seed, ...run }).outcomes) met.set(what, (met.get(what) ?? 0) + n);
  };
  it('on small files, collecting at once', () => {
    duels(1, 41, { steps: 400, bigFiles: false, sessions: false, collect: 1 });
  });
  it('with sessions that hold files open, collecting late', () => {
    duels(100, 140, { steps: 400, bigFiles: false, sessions: true, collect: 0.1 });
  });
  it('with truncations and files of many blocks', () => {
    duels(200, 212, { steps: 250, bigFiles: true, sessions: true, collect: 0.2 });
  });
  it('that reach every kind of operation, done and refused for each reason', () => {
    // Collecting is a step of the service's own (collectStep), and a checkpoint no matter of the tree.
    const types = (Object.keys(OPCODES) as OperationType[]).filter((type) => type !== 'collect' && type !== 'checkpoint');
    expect(types.filter((type) => (met.get(`${type} ok`) ?? 0) < 10)).toEqual([]);
    expect(REFUSALS.filter((what) => !met.has(what))).toEqual([]);
  });
});

// How far removed files have been collected is the state machine's own affair, and says how much room there is: here it always has.
describe('random sequences in a file system that is nearly full', () => {
  const met = new Map<string, number>();
  const few: Limits = { maxInodes: 9, maxBytes: DEFAULT_LIMITS.maxBytes, maxFileSize: DEFAULT_LIMITS.maxFileSize };
  const cases: readonly (readonly [string, Limits])[] = [
    ['of inodes', few],
    ['of bytes', { ...few, maxInodes: DEFAULT_LIMITS.maxInodes, maxBytes: 140 * 512 }],
    ['whose files are small', { ...few, maxInodes: DEFAULT_LIMITS.maxInodes, maxFileSize: 513 }],
    ['of everything', { maxInodes: 15, maxBytes: 137 * 512, maxFileSize: 70_000 }],
  ];
  it.each(cases)('%s', (_what, limits) => {
    for (let seed = 300; seed < 312; seed++) {
      const { outcomes, world } = duel({ seed, steps: 400, bigFiles: seed % 2 === 0, sessions: false, collect: 'all', limits });
      for (const [what, n] of outcomes) met.set(what, (met.get(what) ?? 0) + n);
      const { inodes, bytes } = world.statfs();
      expect([inodes <= limits.maxInodes, bytes <= limits.maxBytes]).toEqual([true, true]);
    }
  });
  it('that meet each limit in every operation that has it', () => {
    const refusals = [
      'create ENOSPC', 'mkdir ENOSPC', 'mknod ENOSPC', 'symlink ENOSPC', 'putFile ENOSPC', 'write ENOSPC', 'putFile EFBIG', 'setattr EFBIG', 'write EFBIG',
    ];
    expect(refusals.filter((what) => !met.has(what))).toEqual([]);
  });
});

describe('limits that are the same in every group: the last that is allowed, and the first that is not', () => {
  const quiet = (): Duel => new Duel({ seed: 1, steps: 0, bigFiles: false, sessions: false, collect: 0 });
  const of = (n: number): Buffer => Buffer.alloc(n, 'n');
  const outcomes = (operations: readonly Operation[]): string[] => {
    const d = quiet();
    d.outcomes.clear();
    for (const operation of operations) d.call({ credentials: ROOT, operation });
    d.world.check();
    return [...d.outcomes].map(([what, n]) => `${what} ${n}`);
  };
  const mkdir = (path: Buffer): Operation => ({ type: 'mkdir', at: at(path), mode: 0o755 });
  const create = (path: Buffer): Operation => ({ type: 'create', at: at(path), mode: 0o644, exclusive: true, truncate: false });
  const setxattr = (name: string, value: Buffer): Operation => ({ type: 'setxattr', at: at(''), follow: true, name: Buffer.from(name), value, mode: 'any' });

  it('names', () => {
    expect(outcomes([create(of(NAME_MAX)), create(of(NAME_MAX + 1))])).toEqual(['create ok 1', 'create ENAMETOOLONG 1']);
    const after = (n: number): Operation => ({ type: 'readdir', at: at(''), after: of(n), limit: 1, attributes: false });
    expect(outcomes([after(NAME_MAX), after(NAME_MAX + 1)])).toEqual(['readdir ok 1', 'readdir ENAMETOOLONG 1']);
  });
  it('paths', () => {
    const path = (n: number): Buffer => Buffer.from('./'.repeat(PATH_MAX).slice(0, n - 1) + 'x');
    const getattr = (n: number): Operation => ({ type: 'getattr', at: at(path(n)), follow: false });
    expect(outcomes([create(Buffer.from('x')), getattr(PATH_MAX - 1), getattr(PATH_MAX), getattr(PATH_MAX + 1)])).toEqual(['create ok 1', 'getattr ok 1', 'getattr ENOENT 1', 'getattr ENAMETOOLONG 1']);
  });
  it('targets of symbolic links', () => {
    const symlink = (path: string, n: number): Operation => ({ type: 'symlink', at: at(path), target: of(n) });
    expect(outcomes([symlink('a', PATH_MAX - 1), symlink('b', PATH_MAX), symlink('c', 0)])).toEqual(['symlink ok 1', 'symlink ENAMETOOLONG 1', 'symlink ENOENT 1']);
  });
  it('extended attributes', () => {
    const name = (n: number): string => `user.${'n'.repeat(n - 5)}`;
    expect(outcomes([setxattr(name(XATTR_NAME_MAX), of(1)), setxattr(name(XATTR_NAME_MAX + 1), of(1))])).toEqual(['setxattr ok 1', 'setxattr ERANGE 1']);
    expect(outcomes([setxattr('user.a', of(XATTR_SIZE_MAX)), setxattr('user.a', of(XATTR_SIZE_MAX + 1))])).toEqual(['setxattr ok 1', 'setxattr E2BIG 1']);
    const full = ['a', 'b', 'c'].map((n) => setxattr(`user.${n}`, of(XATTR_SIZE_MAX)));
    const left = XATTR_TOTAL_MAX - 3 * (XATTR_SIZE_MAX + 6) - 6;
    expect(outcomes([...full, setxattr('user.d', of(left + 1)), setxattr('user.d', of(left)), setxattr('user.e', of(0))])).toEqual(['setxattr ok 4', 'setxattr ENOSPC 2']);
  });
  it('links of a file', () => {
    const d = quiet();
    const link = (to: string): Operation => ({ type: 'link', from: at('f'), to: at(to), follow: false });
    d.call({ credentials: ROOT, operation: create(Buffer.from('f')) });
    const { ino } = d.world.stat('f');
    d.world.forceLinks(ino, LINK_MAX - 1);
    defined(d.model.nodes.get(ino), 'f').names = LINK_MAX - 1;
    for (const to of ['last', 'more']) d.call({ credentials: ROOT, operation: link(to) });
    expect([d.outcomes.get('link ok'), d.outcomes.get('link EMLINK')]).toEqual([1, 1]);
  });
  it('directories in a directory', () => {
    const d = quiet();
    for (const path of ['d', 'a', 'b', 'f']) d.call({ credentials: ROOT, operation: path === 'f' ? create(Buffer.from(path)) : mkdir(Buffer.from(path)) });
    const { ino } = d.world.stat('d');
    const [dir, child] = [defined(d.model.nodes.get(ino), 'd'), defined(d.model.nodes.get(d.world.stat('a').ino), 'a')];
    d.world.forceLinks(ino, LINK_MAX - 1);
    for (let n = 2; n < LINK_MAX - 1; n++) dir.children.set(`#${n}`, child);
    const rename = (from: string, to: string, flags: 'none' | 'exchange' = 'none'): Operation => ({ type: 'rename', from: at(from), to: at(to), flags });
    const steps: Operation[] = [
      mkdir(Buffer.from('d/last')), mkdir(Buffer.from('d/more')), rename('b', 'd/b'), create(Buffer.from('d/f')), rename('b', 'd/f', 'exchange'), rename('d/f', 'b', 'exchange'), rename('b', 'd/last'), mkdir(Buffer.from('d/more')),
    ];
    for (const operation of steps) d.call({ credentials: ROOT, operation });
    expect(['mkdir EMLINK', 'rename EMLINK', 'rename ok'].map((what) => d.outcomes.get(what))).toEqual([2, 3, 1]);
  });
});

describe('determinism', () => {
  it('gives equal records for equal operations', () => {
    const one = duel({ seed: 7, steps: 500, bigFiles: true, sessions: true, collect: 0.3 });
    const two = duel({ seed: 7, steps: 500, bigFiles: true, sessions: true, collect: 0.3 });
    expect(one.world.records()).toEqual(two.world.records());
    expect(decodeCounters(defined(one.world.table.get(COUNTERS_KEY), 'counters')).nextIno).toBeGreaterThan(20);
    expect(one.outcomes).toEqual(two.outcomes);
  });
});

// Seed 14471 of the simulator: the service was right, and the model too strict.
it('the model knows that a name in a removed tree counts until it has been collected', () => {
  const duel = new Duel({ seed: 1, steps: 0, bigFiles: false, sessions: false, collect: 0 });
  const call = (operation: Call['operation']): void => { duel.call({ credentials: ROOT, operation }); };
  call({ type: 'create', at: at('e'), mode: 0o644, exclusive: true, truncate: false });
  call({ type: 'mkdir', at: at('d'), mode: 0o755 });
  call({ type: 'link', from: at('e'), to: at('d/e'), follow: false });
  call({ type: 'removeTree', at: at('d') });
  call({ type: 'unlink', at: at('e') });
});
