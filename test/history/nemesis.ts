/** The faults of a run, one after the other, drawn from a seed. A quorum that is connected stays, except where a fault says otherwise. */
import { setTimeout as pause } from 'node:timers/promises';
import { defined, unreachable } from '../../lib/assert.ts';
import type { Prng } from '../../lib/prng.ts';
import type { Durability } from '../../vr/configuration.ts';
import type { HistoryCluster } from './cluster.ts';
import type { Namespaces } from './namespaces.ts';

export const FAULT_KINDS = ['kill', 'pause', 'partition', 'flap'] as const;
export type FaultKind = (typeof FAULT_KINDS)[number];

export interface Fault {
  readonly kind: FaultKind;
  readonly what: string;
  /** ns since the run began. `to`: it was taken back. */
  readonly from: number;
  readonly to: number;
  /** A majority of the replicas ran and reached each other all the time. */
  readonly quorum: boolean;
}

export interface NemesisPorts {
  readonly cluster: HistoryCluster;
  readonly namespaces: Namespaces;
  readonly durability: Durability;
  now(): number;
  log(line: string): void;
}

interface Plan {
  readonly what: string;
  readonly quorum: boolean;
  readonly milliseconds: number;
  begin(): Promise<void>;
  end(): Promise<void>;
}

const GAP_MS = [200, 1200] as const;

export class Nemesis {
  readonly faults: Fault[] = [];
  readonly #ports: NemesisPorts;
  readonly #prng: Prng;
  readonly #kinds: readonly FaultKind[];
  #turn: FaultKind[] = [];
  /** Kinds of which there was none yet: the first one is what costs most, also in a short run. */
  readonly #fresh: Set<FaultKind>;

  constructor(ports: NemesisPorts, prng: Prng, kinds: readonly FaultKind[]) {
    this.#ports = ports;
    this.#prng = prng;
    this.#kinds = kinds;
    this.#fresh = new Set(kinds);
  }

  /** Injects faults until `endMs` of the run; each one that begins is taken back before this returns. */
  async run(endMs: number): Promise<void> {
    const { now, log } = this.#ports;
    for (;;) {
      await pause(this.#prng.between(...GAP_MS));
      const left = endMs - now() / 1e6;
      if (left <= 0 || this.#kinds.length === 0) return;
      const kind = this.#nextKind();
      const plan = await this.#plan(kind);
      const from = now();
      log(`${(from / 1e9).toFixed(3)} s: ${kind}: ${plan.what}, for ${plan.milliseconds} ms`);
      await plan.begin();
      await pause(Math.min(plan.milliseconds, Math.max(200, left)));
      await plan.end();
      const to = now();
      log(`${(to / 1e9).toFixed(3)} s: ${kind} is over`);
      this.faults.push({ kind, what: plan.what, from, to, quorum: plan.quorum });
    }
  }

  /** Each kind once before any comes again: also a short run has all. */
  #nextKind(): FaultKind {
    if (this.#turn.length === 0) {
      this.#turn = [...this.#kinds];
      for (let i = this.#turn.length - 1; i > 0; i--) {
        const j = this.#prng.below(i + 1);
        [this.#turn[i], this.#turn[j]] = [defined(this.#turn[j], 'a kind'), defined(this.#turn[i], 'a kind')];
      }
    }
    return defined(this.#turn.shift(), 'a kind');
  }

  /** The primary more often than not. */
  async #victim(first: boolean): Promise<number> {
    const any = this.#prng.pick(this.#ports.cluster.replicas);
    return this.#prng.chance(0.6) || first ? await this.#ports.cluster.primary() ?? any : any;
  }

  async #victims(isFirst: boolean): Promise<number[]> {
    const { cluster } = this.#ports;
    const first = await this.#victim(isFirst);
    const spare = cluster.replicas.length - cluster.quorum;
    if (spare < 2 || this.#prng.chance(0.5)) return [first];
    return [first, this.#prng.pick(cluster.replicas.filter((r) => r !== first))];
  }

  async #plan(kind: FaultKind): Promise<Plan> {
    const first = this.#fresh.delete(kind);
    switch (kind) {
      case 'kill': return await this.#kill(first);
      case 'pause': return await this.#pause(first);
      case 'partition': return await this.#partition(first);
      case 'flap': return await this.#flap(first);
      default: return unreachable(kind);
    }
  }

  async #kill(first: boolean): Promise<Plan> {
    const { cluster, durability } = this.#ports;
    // A group in memory does not outlive this, and says so.
    const all = !first && durability === 'disk' && this.#prng.chance(0.2);
    const victims = all ? cluster.replicas : await this.#victims(first);
    return {
      what: all ? 'kill -9 of all replicas' : `kill -9 of ${named(victims)}`, quorum: !all, milliseconds: all ? this.#prng.between(0, 500) : this.#prng.between(200, 2000),
      begin: async () => { await Promise.all(victims.map((v) => cluster.kill(v))); },
      end: async () => {
        for (const v of victims) cluster.start(v);
        // A process takes a while to start, and a fault in that time would hit nothing.
        await cluster.answering(victims);
        // What memory held is gone until the replica has recovered: the next fault may not take another one's.
        if (durability === 'memory') await cluster.normal();
      },
    };
  }

  async #pause(first: boolean): Promise<Plan> {
    const { cluster } = this.#ports;
    if (!first && this.#prng.chance(0.5)) return await this.#stutter();
    const victims = await this.#victims(first);
    return {
      what: `SIGSTOP of ${named(victims)}`, quorum: true, milliseconds: this.#prng.between(500, 3500),
      begin: () => { for (const v of victims) cluster.pause(v); return Promise.resolve(); },
      end: () => { for (const v of victims) cluster.resume(v); return Promise.resolve(); },
    };
  }

  /** Each time long enough for another primary, and what had arrived before is answered by one that does not know of it. */
  async #stutter(): Promise<Plan> {
    const { cluster } = this.#ports;
    const otherwise = await this.#victim(true);
    const prng = this.#prng.fork();
    return this.#again('SIGSTOP and SIGCONT of the primary of the moment, again and again', this.#prng.between(2500, 4500), async () => {
      const victim = await cluster.primary() ?? otherwise;
      cluster.pause(victim);
      await pause(prng.between(400, 1000));
      cluster.resume(victim);
      await pause(prng.between(50, 300));
    });
  }

  async #partition(first: boolean): Promise<Plan> {
    const { cluster, namespaces } = this.#ports;
    const victims = await this.#victims(first);
    const others = cluster.replicas.filter((r) => !victims.includes(r));
    const milliseconds = this.#prng.between(800, 3500);
    const pairs = (from: readonly number[], to: readonly number[]): [number, number][] => from.flatMap((a) => to.map((b): [number, number] => [a, b]));
    const cutting = (what: string, directions: readonly (readonly [number, number])[]): Plan => ({
      what, quorum: true, milliseconds,
      begin: async () => { for (const [a, b] of directions) await namespaces.cut(a, b); },
      end: async () => { for (const [a, b] of directions) await namespaces.mend(a, b); },
    });
    switch (first ? 0 : this.#prng.below(7)) {
      case 0:
      case 1: return cutting(`${named(victims)} and the other replicas do not reach each other`, [...pairs(victims, others), ...pairs(others, victims)]);
      case 2: return cutting(`${named(victims)} does not reach the other replicas, but hears them`, pairs(victims, others));
      case 3: return cutting(`${named(victims)} does not hear the other replicas, but reaches them`, pairs(others, victims));
      case 4: {
        const [a, b] = [defined(victims[0], 'a victim'), this.#prng.pick(others)];
        return cutting(`replicas ${a} and ${b} do not reach each other, all else is well`, [[a, b], [b, a]]);
      }
      default: return {
        what: `${named(victims)} unplugged, from clients too`, quorum: true, milliseconds,
        begin: async () => { for (const v of victims) await namespaces.plug(v, 'down'); },
        end: async () => { for (const v of victims) await namespaces.plug(v, 'up'); },
      };
    }
  }

  async #flap(first: boolean): Promise<Plan> {
    const { namespaces } = this.#ports;
    const victim = await this.#victim(first);
    const prng = this.#prng.fork();
    return this.#again(`the link of replica ${victim} goes down and up`, this.#prng.between(1500, 3500), async () => {
      await namespaces.plug(victim, 'down');
      await pause(prng.between(50, 400));
      await namespaces.plug(victim, 'up');
      await pause(prng.between(50, 400));
    });
  }

  /** Does `once`, which leaves things as they were, over and over. */
  #again(what: string, milliseconds: number, once: () => Promise<void>): Plan {
    let stop = false;
    let going: Promise<void> = Promise.resolve();
    const go = async (): Promise<void> => {
      while (!stop) await once();
    };
    return {
      what, quorum: true, milliseconds,
      begin: () => { going = go(); return Promise.resolve(); },
      end: async () => {
        stop = true;
        await going;
      },
    };
  }
}

function named(replicas: readonly number[]): string {
  return `replica${replicas.length === 1 ? '' : 's'} ${replicas.join(' and ')}`;
}
