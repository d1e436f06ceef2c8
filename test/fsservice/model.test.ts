/** The state machine against the model: long random sequences, every result compared, and the whole tree at the end. */
import { describe, expect, it } from 'vitest';
import type { Ino } from '../../lib/ids.ts';
import { Prng } from '../../lib/prng.ts';
import { decodeCounters } from '../../fsservice/counters.ts';
import { COUNTERS_KEY } from '../../fsservice/keys.ts';
import { decodeResult, encodeCall, isWriteOperation, OPCODES } from '../../fsservice/operation_codec.ts';
import type { Call, OperationType, Result } from '../../fsservice/operations.ts';
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
  /** How likely a collect step is after each operation, when there is something to collect. */
  readonly collect: number;
}

class Duel {
  readonly world = new World();
  readonly model = new ModelFileSystem();
  /** What was met, to see that the sequences reach everything. */
  readonly outcomes = new Map<string, number>();
  readonly #sessions: number[] = [];
  readonly #rng: Prng;
  readonly #run: Run;

  constructor(run: Run) {
    this.#run = run;
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
    if (rng.chance(this.#run.collect)) this.world.collectStep();
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

/** Reasons that say something about the rule of the operation itself. Full limits (ENOSPC, EMLINK, EFBIG) have tests of their own. */
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
