/** The file system as the simulator's application: the real service, the plain model, and a workload that collides a lot. */
import { assert, unreachable } from '../../lib/assert.ts';
import { MemoryTable } from '../../lib/memory_table.ts';
import type { Prng } from '../../lib/prng.ts';
import type { Ino } from '../../lib/ids.ts';
import { encodeCall, decodeCall, decodeResult } from '../../fsservice/operation_codec.ts';
import { ROOT_INO, type At, type Credentials, type ReadOperation, type WriteOperation } from '../../fsservice/operations.ts';
import { formatNamespace } from '../../fsservice/records.ts';
import { FileSystemService } from '../../fsservice/service.ts';
import { FileSystemModel } from './file_system_model.ts';
import type { Application, Operation, Workload } from './application.ts';

const DIRECTORIES = ['', 'd', 'e', 'd/f'];
const NAMES = ['a', 'b', 'c', 'd', 'e', 'f'];
const ATTRIBUTES = ['user.x', 'user.y'];
/** Supplementary group numbers from here on only make bodies different from each other. */
const UNIQUE_GROUP = 1_000_000;

const FREQUENCIES: readonly (readonly [WriteOperation['type'], number])[] = [
  ['create', 14], ['putFile', 14], ['mkdir', 8], ['rename', 10], ['unlink', 8], ['link', 6], ['symlink', 4], ['write', 10],
  ['setattr', 8], ['setxattr', 5], ['removexattr', 3], ['rmdir', 4], ['removeTree', 3], ['mknod', 2],
];
const TOTAL = FREQUENCIES.reduce((sum, [, n]) => sum + n, 0);
const READS: readonly ReadOperation['type'][] = ['getattr', 'read', 'readdir', 'getxattr', 'listxattr', 'readlink', 'access', 'getattr', 'readdir'];

class FileSystemWorkload implements Workload {
  /** Each third keep-alive is a request for a checkpoint instead. */
  readonly #asksForCheckpoints: boolean;
  #unique = 0;
  /** By path: the version that somebody saw last. */
  readonly #versions = new Map<string, number>();
  /** Inodes that somebody met lately: they are asked for by number too, when they may have lost their last name. */
  readonly #inodes: Ino[] = [];

  constructor(asksForCheckpoints: boolean) {
    this.#asksForCheckpoints = asksForCheckpoints;
  }

  next(random: Prng): Operation {
    if (random.chance(0.03)) return { body: this.#keepAlive(random.below(200), this.#inodes.filter(() => random.chance(0.3)).sort((a, b) => a - b)), read: null };
    const reading = random.chance(0.3);
    const operation = reading ? this.#readOperation(random) : this.#writeOperation(random);
    const body = encodeCall({ credentials: this.#credentials(random), operation });
    return { body, read: reading ? (random.chance(0.6) ? 'linearizable' : 'causal') : null };
  }

  read(random: Prng): Buffer {
    return encodeCall({ credentials: this.#credentials(random), operation: this.#readOperation(random) });
  }

  keepAlive(seenOp: number): Buffer {
    return this.#keepAlive(seenOp, []);
  }

  #keepAlive(seenOp: number, open: readonly Ino[]): Buffer {
    const credentials = { uid: 0, gid: 0, groups: [UNIQUE_GROUP + ++this.#unique] };
    return encodeCall({ credentials, operation: this.#asksForCheckpoints && this.#unique % 3 === 0 ? { type: 'checkpoint' } : { type: 'keepAlive', seenOp, open } });
  }

  answered(body: Buffer, result: Buffer): void {
    const call = decodeCall(body);
    assert(call.ok, 'a body of our own decodes');
    const { operation } = call.value;
    if (operation.type !== 'putFile' && operation.type !== 'getattr' && operation.type !== 'create') return;
    const answer = decodeResult(operation.type, result);
    if (!answer.ok || !answer.value.ok) return;
    const { ino } = answer.value.value.attributes;
    if (!this.#inodes.includes(ino)) this.#inodes.push(ino);
    if (this.#inodes.length > 12) this.#inodes.shift();
    this.#versions.set(operation.at.path.toString(), answer.value.value.attributes.version);
  }

  #credentials(random: Prng): Credentials {
    const uid = random.chance(0.7) ? 0 : 1000 + random.below(2);
    return { uid, gid: uid, groups: [UNIQUE_GROUP + ++this.#unique] };
  }

  #at(random: Prng): At {
    if (this.#inodes.length > 0 && random.chance(0.12)) return { dir: random.pick(this.#inodes), path: Buffer.alloc(0) };
    const directory = random.pick(DIRECTORIES);
    const name = random.pick(NAMES);
    return { dir: ROOT_INO, path: Buffer.from(directory === '' ? name : `${directory}/${name}`) };
  }

  #writeOperation(random: Prng): WriteOperation {
    let n = random.below(TOTAL);
    let type: WriteOperation['type'] = 'create';
    for (const [candidate, weight] of FREQUENCIES) {
      type = candidate;
      if (n < weight) break;
      n -= weight;
    }
    const at = this.#at(random);
    switch (type) {
      case 'create': return { type, at, mode: 0o644, exclusive: random.chance(0.7), truncate: random.chance(0.3) };
      case 'putFile': return { type, at, mode: 0o666, data: random.bytes(random.below(200)), ifVersion: random.chance(0.6) ? (this.#versions.get(at.path.toString()) ?? 0) : null };
      case 'mkdir': return { type, at, mode: random.chance(0.8) ? 0o777 : 0o700 };
      case 'rename': return { type, from: at, to: this.#at(random), flags: random.pick(['none', 'none', 'noreplace', 'exchange'] as const) };
      case 'unlink': case 'rmdir': case 'removeTree': return { type, at };
      case 'link': return { type, from: at, to: this.#at(random), follow: random.chance(0.3) };
      case 'symlink': return { type, at, target: this.#at(random).path };
      case 'write': return { type, at, offset: random.chance(0.25) ? 'end' : random.chance(0.9) ? random.below(500) : 65_400 + random.below(300), data: random.bytes(1 + random.below(150)) };
      case 'setattr': return { type, at, follow: random.chance(0.5), set: random.pick([{ mode: 0o600 + random.below(64) }, { size: random.below(300) }, { mtime: 'now' as const }, { uid: 1000 }]) };
      case 'setxattr': return { type, at, follow: true, name: Buffer.from(random.pick(ATTRIBUTES)), value: random.bytes(random.below(40)), mode: random.pick(['any', 'create', 'replace'] as const) };
      case 'removexattr': return { type, at, follow: true, name: Buffer.from(random.pick(ATTRIBUTES)) };
      case 'mknod': return { type, at, fileType: 'fifo', mode: 0o644, rdev: 0 };
      case 'keepAlive': case 'collect': case 'checkpoint': return assert(false, `${type} is not the workload's`) as never;
      default: return unreachable(type);
    }
  }

  #readOperation(random: Prng): ReadOperation {
    const type = random.pick(READS);
    const at = this.#at(random);
    switch (type) {
      case 'getattr': return { type, at, follow: random.chance(0.5) };
      case 'read': return { type, at, offset: random.below(300), length: random.below(400) };
      case 'readdir': return { type, at: random.chance(0.5) ? at : { dir: ROOT_INO, path: Buffer.from(random.pick(DIRECTORIES)) }, after: Buffer.alloc(0), limit: 1 + random.below(10), attributes: random.chance(0.5) };
      case 'readlink': return { type, at };
      case 'getxattr': return { type, at, follow: true, name: Buffer.from(random.pick(ATTRIBUTES)) };
      case 'listxattr': return { type, at, follow: true };
      case 'access': return { type, at, mask: random.below(8) };
      case 'statfs': return { type };
      default: return unreachable(type);
    }
  }
}

export const fileSystem: Application = {
  format: () => {
    const table = new MemoryTable();
    formatNamespace(table);
    return [...table.entries()];
  },
  stateMachine: (table) => new FileSystemService(table),
  model: () => new FileSystemModel(),
  workload: () => new FileSystemWorkload(false),
};

/** With many checkpoints that somebody has asked for, beside those at every O operations. */
export const fileSystemWithCheckpoints: Application = { ...fileSystem, workload: () => new FileSystemWorkload(true) };
