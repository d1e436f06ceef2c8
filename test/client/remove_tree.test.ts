/** Removing a tree on a user's behalf: what rm -r may do and what not, and who interferes. */
import { beforeEach, describe, expect, it } from 'vitest';
import type { CallerOperations } from '../../client/caller.ts';
import { removeTree } from '../../client/remove_tree.ts';
import { EMPTY } from '../../lib/bytes.ts';
import type { Ino } from '../../lib/ids.ts';
import { ROOT_INO, type Call, type Credentials, type Operation, type ReadOperation, type Result, type WriteOperation } from '../../fsservice/operations.ts';
import { ALICE, at, BOB, nameOf, ROOT, World } from '../fsservice/harness.ts';

let w: World;
/** Every operation of the removal before it is executed. */
let before: (operation: Operation) => void;
let operations: Operation[];
let underWay: number;
let mostUnderWay: number;

beforeEach(() => {
  w = new World();
  w.setattr('', { mode: 0o777 });
  before = () => undefined;
  operations = [];
  underWay = 0;
  mostUnderWay = 0;
});

async function call<O extends Operation>(c: Call<O>): Promise<Result<O['type']>> {
  mostUnderWay = Math.max(mostUnderWay, ++underWay);
  await Promise.resolve();
  underWay--;
  operations.push(c.operation);
  before(c.operation);
  return w.run(c.operation as never, c.credentials) as Result<O['type']>;
}

function as(credentials: Credentials): CallerOperations {
  return {
    submit: <O extends WriteOperation>(operation: O) => call({ credentials, operation }),
    query: <O extends ReadOperation>(operation: O) => call({ credentials, operation }),
  };
}

/** 'done', or 'EACCES unlink /path'. */
async function remove(path: string, credentials: Credentials = ALICE): Promise<string> {
  const refusal = await removeTree(as(credentials), Buffer.from(path));
  return refusal === null ? 'done' : `${nameOf(refusal.errno)} ${refusal.syscall} ${refusal.path.toString()}`;
}

describe('the permissions of every directory count', () => {
  it("a non-empty directory of root's in the caller's own stays, an empty one goes", async () => {
    w.mkdir('home', 0o755, ALICE);
    w.mkdir('home/roots');
    w.create('home/roots/f');
    expect(await remove('home')).toBe('EACCES unlink home/roots/f');
    expect(w.exists('home/roots/f')).toBe(true);
    w.unlink('home/roots/f');
    expect(await remove('home')).toBe('done');
    expect(w.exists('home')).toBe(false);
    w.check();
  });

  it("another's directory that the caller may write to goes", async () => {
    w.mkdir('theirs', 0o777, ALICE);
    w.mkdir('theirs/inner', 0o777, ALICE);
    w.create('theirs/inner/f', 0o600, ALICE);
    expect(await remove('theirs', BOB)).toBe('done');
  });

  it('what may not be removed at the top is not emptied either', async () => {
    w.mkdir('top', 0o777, ALICE);
    w.create('top/f', 0o666, ALICE);
    w.setattr('', { mode: 0o755 });
    expect(await remove('top')).toBe('EACCES rmdir top');
    w.setattr('', { mode: 0o1777 });
    expect(await remove('top', BOB)).toBe('EPERM rmdir top');
    expect(w.names('top')).toEqual(['f']);
  });

  it('in a sticky directory the files of others stay', async () => {
    w.mkdir('tmp', 0o1777);
    w.mkdir('mine', 0o755, ALICE);
    w.rename('tmp', 'mine/tmp');
    w.create('mine/tmp/bobs', 0o666, BOB);
    expect(await remove('mine')).toBe('EPERM unlink mine/tmp/bobs');
  });

  it('a directory that may not be listed goes when it is empty', async () => {
    w.mkdir('top', 0o755, ALICE);
    w.mkdir('top/closed', 0o300, ALICE);
    w.create('top/closed/f', 0o600, ALICE);
    expect(await remove('top')).toBe('EACCES readdir top/closed');
    w.unlink('top/closed/f');
    expect(await remove('top')).toBe('done');
  });

  it('below a directory that may not be searched nothing is removed', async () => {
    w.mkdir('top', 0o755, ALICE);
    w.mkdir('top/d', 0o777, ALICE);
    w.create('top/d/f', 0o666, ALICE);
    w.setattr('top', { mode: 0o600 });
    expect(await remove('top')).toBe('EACCES rmdir top/d');
    w.setattr('top', { mode: 0o700 });
    expect(w.names('top/d')).toEqual(['f']);
  });
});

describe('what is removed', () => {
  it('files and links are, themselves', async () => {
    w.mkdir('d', 0o777);
    w.create('d/f');
    w.symlink('d', 'l');
    expect(await remove('l/')).toBe('ENOTDIR unlink l/');
    expect(await remove('l')).toBe('done');
    expect(await remove('d/f')).toBe('done');
    expect(await remove('d/f')).toBe('ENOENT rmdir d/f');
    expect(await remove('d//')).toBe('done');
  });

  it.each([['/', 'EBUSY'], ['//', 'EBUSY'], ['d/.', 'EINVAL'], ['d/e/..', 'ENOTEMPTY'], ['d/e/../', 'ENOTEMPTY']])('%s is refused with %s before anything is touched', async (path, errno) => {
    w.mkdir('d', 0o777);
    w.mkdir('d/e', 0o777);
    w.create('d/e/f');
    expect(await remove(path)).toBe(`${errno} rmdir ${path}`);
    expect(w.names('d/e')).toEqual(['f']);
  });

  it('links are not followed', async () => {
    w.mkdir('kept', 0o777);
    w.create('kept/f');
    w.mkdir('d', 0o777);
    w.symlink('/kept', 'd/l');
    expect(await remove('d')).toBe('done');
    expect(w.names('kept')).toEqual(['f']);
  });

  it('thousands of names in a directory, with few operations under way at once', async () => {
    w.mkdir('d', 0o777);
    for (let i = 0; i < 2500; i++) w.create(`d/f${i}`);
    expect(await remove('d')).toBe('done');
    expect(operations.filter((o) => o.type === 'readdir')).toHaveLength(3);
    expect(mostUnderWay).toBeLessThanOrEqual(16);
    w.check();
  });

  it('a tree deeper than any path', async () => {
    const depth = 3000;
    let dir: Ino = w.mkdir('deep', 0o777).ino;
    for (let i = 0; i < depth; i++) dir = w.ok<'mkdir'>({ type: 'mkdir', at: at('d', dir), mode: 0o777 }).attributes.ino;
    w.ok<'create'>({ type: 'create', at: at('f', dir), mode: 0o600, exclusive: true, truncate: false });
    expect(await remove('deep')).toBe('done');
    expect(w.statfs().inodes).toBe(1);
    w.check();
  });
});

describe('others at the same time', () => {
  it('add: what they add goes too', async () => {
    w.mkdir('d', 0o777);
    w.mkdir('d/e', 0o777);
    w.create('d/e/f');
    let added = 0;
    before = (o) => {
      if (o.type === 'rmdir' && o.at.dir !== ROOT_INO && added < 3) w.create(`d/e/new${added++}`);
    };
    expect(await remove('d')).toBe('done');
    expect([added, w.exists('d')]).toEqual([3, false]);
  });

  it('add without end: ENOTEMPTY', async () => {
    w.mkdir('d', 0o777);
    w.create('d/f');
    let added = 0;
    before = (o) => {
      if (o.type === 'rmdir') w.create(`d/new${added++}`);
    };
    expect(await remove('d')).toBe('ENOTEMPTY rmdir d');
    expect(added).toBeLessThan(50);
  });

  it('remove the same tree', async () => {
    for (const d of ['d', 'd/e', 'd/e/g']) w.mkdir(d, 0o777);
    for (let i = 0; i < 100; i++) w.create(`d/e/f${i}`);
    expect(await Promise.all([remove('d'), remove('d', BOB), remove('d')])).toEqual(['done', 'done', 'done']);
    before = (o) => {
      if (o.type === 'readdir' && w.exists('d2')) w.ok<'removeTree'>({ type: 'removeTree', at: at('d2') }, ROOT);
    };
    w.mkdir('d2', 0o777);
    w.create('d2/f');
    expect(await remove('d2')).toBe('done');
  });

  it('put a link in the place of a directory: nothing behind it is touched', async () => {
    w.mkdir('kept', 0o777);
    w.create('kept/f', 0o666);
    for (const [victim, top] of [['top', true], ['d/inner', false]] as const) {
      if (!top) w.mkdir('d', 0o777);
      w.mkdir(victim, 0o777);
      w.create(`${victim}/x`);
      let swapped = false;
      before = (o) => {
        // Between the look at the directory and the listing of it.
        if (swapped || o.type !== 'readdir' || (!top && o.at.path.toString() !== 'inner')) return;
        swapped = true;
        w.rename(victim, `moved-${victim.replace('/', '-')}`);
        w.symlink('/kept', victim);
      };
      expect(await remove(top ? 'top' : 'd')).toBe(top ? 'ENOTDIR rmdir top' : 'done');
      expect(swapped).toBe(true);
    }
    expect(w.names('kept')).toEqual(['f']);
    expect(w.names('moved-d-inner')).toEqual(['x']);
  });

  it('put a directory in the place of a file, and a file in that of a directory', async () => {
    w.mkdir('d', 0o777);
    w.create('d/f');
    w.mkdir('d/e', 0o777);
    let swapped = false;
    before = (o) => {
      if (swapped || o.type !== 'unlink') return;
      swapped = true;
      w.rename('d/f', 'd/e', 'exchange');
    };
    expect(await remove('d')).toBe('done');
    expect(w.ok<'readdir'>({ type: 'readdir', at: at(''), after: EMPTY, limit: 10, attributes: false }).entries).toEqual([]);
  });
});
