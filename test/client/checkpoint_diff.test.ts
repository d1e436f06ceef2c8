import { describe, expect, onTestFinished, test } from 'vitest';
import { PAGE } from '../../checkpoint/hashes.ts';
import { innerId, nodeId } from '../../checkpoint/inner_node.ts';
import type { TreeSource } from '../../checkpoint/tree_diff.ts';
import { readParts } from '../../server/checkpoint_reader.ts';
import { diffNamespaces, type NamespaceDiff, type NamespaceDiffOptions } from '../../client/checkpoint_diff.ts';
import { NotVerified } from '../../client/errors.ts';
import { printable } from '../../client/paths.ts';
import { inodeKey, blockKey } from '../../fsservice/keys.ts';
import { ino } from '../../lib/ids.ts';
import { defined } from '../../lib/assert.ts';
import { EMPTY } from '../../lib/bytes.ts';
import type { OpNumber } from '../../lib/ids.ts';
import { State, at } from './proof_state.ts';

/** A checkpoint of the state, read through what the HTTP route reads through. */
async function sourceOf(state: State): Promise<TreeSource> {
  const { op } = await state.checkpoint();
  const pinned = defined(state.store.pin(op) ?? undefined, 'a checkpoint');
  onTestFinished(() => pinned.release());
  const { top } = pinned;
  const all = async (op_: OpNumber, ids: readonly string[], keys: readonly Buffer[]): Promise<(Buffer | null)[]> => {
    const found: (Buffer | null)[] = [];
    while (found.length < ids.length + keys.length) {
      const done = found.length;
      const parts = defined((await readParts({ pin: () => ({ ...pinned, release: () => Promise.resolve() }) }, op_, ids.slice(done), keys.slice(Math.max(0, done - ids.length)))) ?? undefined, 'parts');
      found.push(...parts.nodes, ...parts.records);
    }
    return found;
  };
  return {
    top: top === null ? null : { id: top.kind === 'page' ? nodeId(PAGE, EMPTY, 0) : innerId(top), hash: top.hash },
    nodes: (ids) => all(op, ids, []),
    records: (keys) => all(op, [], keys),
  };
}

function text({ changes }: NamespaceDiff): string[] {
  return changes.map(({ kind, path, from, type, aspects }) => [kind, ...(from === null ? [] : [`${printable(from)} ->`]), path === null ? '?' : printable(path), type, ...aspects].join(' '));
}

const ATTRIBUTES = { fileType: 'file', mode: 0o644, rdev: 0 } as const;

class Tree {
  readonly state: State;
  constructor(state: State) {
    this.state = state;
  }
  mkdir(path: string): void {
    this.state.do({ type: 'mkdir', at: at(path), mode: 0o755 });
  }
  file(path: string, content = path): void {
    this.state.do({ type: 'mknod', at: at(path), ...ATTRIBUTES });
    if (content !== '') this.write(path, content);
  }
  write(path: string, content: string, offset = 0): void {
    this.state.do({ type: 'write', at: at(path), offset, data: Buffer.from(content) });
  }
}

async function made(): Promise<Tree> {
  const tree = new Tree(await State.make());
  for (const path of ['/a', '/a/b', '/a/b/c', '/d']) tree.mkdir(path);
  for (let i = 0; i < 150; i++) tree.file(`/a/b/c/file-${i}`);
  for (const path of ['/a/one', '/a/two', '/d/three', '/top']) tree.file(path);
  return tree;
}

async function diffOf(change: (tree: Tree) => void, options?: NamespaceDiffOptions): Promise<NamespaceDiff> {
  const tree = await made();
  const before = await sourceOf(tree.state);
  change(tree);
  return diffNamespaces(before, await sourceOf(tree.state), options);
}

describe('the difference of two checkpoints as paths', () => {
  const cases: [string, (tree: Tree) => void, string[]][] = [
    ['nothing', () => undefined, []],
    ['a file that came', (t) => { t.file('/a/b/new'); }, ['changed /a/b directory entries mtime', 'added /a/b/new file']],
    ['a file that went', (t) => { t.state.do({ type: 'unlink', at: at('/a/b/c/file-7') }); }, ['changed /a/b/c directory entries mtime', 'removed /a/b/c/file-7 file']],
    ['contents, where nothing else says the name', (t) => { t.write('/a/b/c/file-77', 'XX'); }, ['changed /a/b/c/file-77 file content mtime']],
    ['contents and size', (t) => { t.write('/top', 'longer than before'); }, ['changed /top file content size mtime']],
    ['a mode', (t) => { t.state.do({ type: 'setattr', at: at('/a/two'), follow: false, set: { mode: 0o600 } }); }, ['changed /a/two file mode']],
    ['a move between directories', (t) => { t.state.do({ type: 'rename', from: at('/a/b/c/file-9'), to: at('/d/nine'), flags: 'none' }); }, ['changed /a/b/c directory entries mtime', 'changed /d directory entries mtime', 'moved /a/b/c/file-9 -> /d/nine file ctime']],
    ['a directory that moved, and a file in it that was written', (t) => {
      t.state.do({ type: 'rename', from: at('/a/b'), to: at('/d/bb'), flags: 'none' });
      t.write('/d/bb/c/file-3', '!');
    }, ['changed /a directory entries mtime', 'changed /d directory entries mtime', 'moved /a/b -> /d/bb directory ctime', 'changed /d/bb/c/file-3 file content mtime']],
    ['a name that leads to another file', (t) => {
      t.state.do({ type: 'unlink', at: at('/top') });
      t.file('/top', 'another');
    }, ['changed / directory mtime', 'replaced /top file']],
    ['a new directory with files', (t) => {
      t.mkdir('/e');
      t.file('/e/x');
    }, ['changed / directory entries mtime', 'added /e directory', 'added /e/x file']],
    ['a link, of which the other name is as it was', (t) => { t.state.do({ type: 'link', from: at('/a/one'), to: at('/d/uno'), follow: false }); }, ['changed /d directory entries mtime', 'added /d/uno file links']],
    ['an extended attribute', (t) => { t.state.do({ type: 'setxattr', at: at('/d/three'), follow: false, name: Buffer.from('user.k'), value: Buffer.from('v'), mode: 'any' }); }, ['changed /d/three file xattrs ctime']],
  ];
  test.each(cases)('%s', async (_, change, expected) => {
    expect(text(await diffOf(change))).toEqual(expected);
  });

  test('backwards what came went', async () => {
    const tree = await made();
    const before = await sourceOf(tree.state);
    tree.mkdir('/e');
    tree.file('/e/x');
    const after = await sourceOf(tree.state);
    expect(text(await diffNamespaces(after, before))).toEqual(['changed / directory entries mtime', 'removed /e directory', 'removed /e/x file']);
    expect((await diffNamespaces(after, before)).internal, 'the totals').toBe(1);
  });

  test('names are looked for among all entries when they are needed and wanted, and no further than to the last', async () => {
    const asked: number[] = [];
    const onSearch = (names: number): Promise<void> => { asked.push(names); return Promise.resolve(); };
    await diffOf((t) => { t.file('/a/new'); }, { onSearch });
    expect(asked).toEqual([]);
    await diffOf((t) => { t.write('/top', 'x'); t.write('/a/one', 'y'); }, { onSearch });
    expect(asked).toEqual([2]);
    const unnamed = await diffOf((t) => { t.write('/top', 'x'); }, { onSearch, search: false });
    expect(asked).toEqual([2]);
    expect(text(unnamed)).toEqual(['changed ? file content mtime']);
    expect(unnamed.changes[0]?.ino).toBeGreaterThan(150);
  });

  test('replicas that differ in contents alone', async () => {
    const tree = await made();
    const before = await sourceOf(tree.state);
    tree.write('/d/three', '!');
    const entry = defined((await diffNamespaces(before, await sourceOf(tree.state))).changes[0], 'a change');
    const good = await sourceOf(tree.state);
    tree.state.store.put(blockKey(entry.ino, 0), Buffer.from('\0\0\0\0rot'));
    expect(text(await diffNamespaces(good, await sourceOf(tree.state)))).toEqual(['changed /d/three file content']);
  });

  test('a source that gives what is not in its tree is refused', async () => {
    const tree = await made();
    const before = await sourceOf(tree.state);
    tree.file('/a/new');
    const after = await sourceOf(tree.state);
    await expect(diffNamespaces(before, { ...after, records: (keys) => Promise.resolve(keys.map(() => Buffer.from('lie'))) })).rejects.toThrow(NotVerified);
    await expect(diffNamespaces(before, { ...after, nodes: (ids) => Promise.resolve(ids.map(() => null)) })).rejects.toThrow('is missing');
    // Nothing in a tree that hashes right says that its records are a namespace.
    tree.state.store.put(inodeKey(ino(4)), Buffer.of(9));
    await expect(sourceOf(tree.state).then((odd) => diffNamespaces(before, odd))).rejects.toThrow(NotVerified);
  });
});
