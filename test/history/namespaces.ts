/**
 * A network of its own: each replica in a network namespace, connected to a bridge in a further one, the hub, where the clients are.
 *
 * All neighbours are entered by hand, so that a direction between two replicas is cut by sending what goes there to a hardware
 * address that nobody has: it is lost without a word, as on a bad link, which a refusing route would not do. Unplugging takes the
 * link down at the bridge: the replica sees that it has no carrier, its addresses stay.
 */
import { execFile, execFileSync } from 'node:child_process';
import { promisify } from 'node:util';

const run = promisify(execFile);
const NOWHERE = '02:76:66:00:00:ff';
const HUB_ADDRESS = '10.77.0.1';
const STALE = /^vrfs-(\d+)-/;

export class NamespaceError extends Error {
  override readonly name = 'NamespaceError';
}

function ip(commands: readonly string[]): void {
  try {
    execFileSync('ip', ['-batch', '-'], { input: `${commands.join('\n')}\n`, stdio: ['pipe', 'pipe', 'pipe'] });
  } catch (error) {
    const { code, stderr } = error as { readonly code?: string; readonly stderr?: Buffer };
    if (code === 'ENOENT') throw new NamespaceError('the command ip is missing: install the Debian package iproute2', { cause: error });
    throw new NamespaceError(`the network namespaces cannot be made, which takes root and a kernel with namespaces, veth and bridge: ${String(stderr).trim()}`, { cause: error });
  }
}

/** Replicas count from 1. */
export class Namespaces {
  readonly #prefix: string;
  readonly #replicas: number;

  /** `owner`: the process whose end makes these namespaces garbage. */
  constructor(owner: number, replicas: number) {
    this.#prefix = `vrfs-${owner}-`;
    this.#replicas = replicas;
  }

  get hub(): string {
    return `${this.#prefix}hub`;
  }
  of(replica: number): string {
    return `${this.#prefix}r${replica}`;
  }
  address(replica: number): string {
    return `10.77.0.${10 + replica}`;
  }
  get #all(): number[] {
    return Array.from({ length: this.#replicas }, (_, i) => i + 1);
  }

  make(): void {
    removeStale();
    ip([this.hub, ...this.#all.map((r) => this.of(r))].map((name) => `netns add ${name}`));
    // -batch works in one namespace; so one batch for each.
    this.#in(this.hub, [
      `link add br0 address ${hardware(0)} type bridge`,
      `address add ${HUB_ADDRESS}/24 dev br0`,
      'link set lo up',
      'link set br0 up',
      ...this.#all.flatMap((r) => [
        `link add r${r} type veth peer name eth0 address ${hardware(r)} netns ${this.of(r)}`,
        `link set r${r} master br0 up`,
        `neighbour replace ${this.address(r)} lladdr ${hardware(r)} nud permanent dev br0`,
      ]),
    ]);
    for (const r of this.#all) {
      this.#in(this.of(r), [
        'link set lo up',
        'link set eth0 up',
        `address add ${this.address(r)}/24 dev eth0`,
        `neighbour replace ${HUB_ADDRESS} lladdr ${hardware(0)} nud permanent dev eth0`,
        ...this.#all.filter((other) => other !== r).map((other) => this.#neighbour(other, hardware(other))),
      ]);
    }
  }

  /** Whatever is in them has to have ended. */
  remove(): void {
    const present = new Set(names());
    ip([this.hub, ...this.#all.map((r) => this.of(r))].filter((name) => present.has(name)).map((name) => `netns delete ${name}`));
  }

  /** Nothing that `from` sends to the replica `to` arrives any more. */
  async cut(from: number, to: number): Promise<void> {
    await this.#ip(from, this.#neighbour(to, NOWHERE));
  }
  async mend(from: number, to: number): Promise<void> {
    await this.#ip(from, this.#neighbour(to, hardware(to)));
  }
  /** The replica's cable to the bridge: clients do not reach it either. */
  async plug(replica: number, state: 'up' | 'down'): Promise<void> {
    await run('ip', ['-n', this.hub, 'link', 'set', `r${replica}`, state]);
  }
  async mendAll(): Promise<void> {
    for (const r of this.#all) {
      await this.plug(r, 'up');
      for (const other of this.#all) if (other !== r) await this.mend(r, other);
    }
  }

  #neighbour(to: number, lladdr: string): string {
    return `neighbour replace ${this.address(to)} lladdr ${lladdr} nud permanent dev eth0`;
  }
  async #ip(replica: number, command: string): Promise<void> {
    await run('ip', ['-n', this.of(replica), ...command.split(' ')]);
  }
  #in(namespace: string, commands: readonly string[]): void {
    try {
      execFileSync('ip', ['-n', namespace, '-batch', '-'], { input: `${commands.join('\n')}\n`, stdio: ['pipe', 'pipe', 'pipe'] });
    } catch (error) {
      throw new NamespaceError(`the network of ${namespace} cannot be set up: ${String((error as { readonly stderr?: Buffer }).stderr).trim()}`, { cause: error });
    }
  }
}

function hardware(host: number): string {
  return `02:76:66:00:00:${host.toString(16).padStart(2, '0')}`;
}

function names(): string[] {
  return execFileSync('ip', ['netns', 'list'], { encoding: 'utf8' }).split('\n').map((line) => line.split(' ')[0] ?? '').filter((name) => name !== '');
}

/** Of runs that were killed: their processes ended with them, their namespaces did not. */
function removeStale(): void {
  const stale = names().filter((name) => {
    const owner = STALE.exec(name);
    return owner !== null && !alive(Number(owner[1]));
  });
  ip(stale.map((name) => `netns delete ${name}`));
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
    return true; // it is another user's
  }
}
