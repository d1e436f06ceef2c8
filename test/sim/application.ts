/** What the simulator needs to know of the application above the replicas. file_system.ts is the one there is. */
import type { Prng } from '../../lib/prng.ts';
import type { Table, TableRecord } from '../../lib/table.ts';
import type { Consistency } from '../../vr/client.ts';
import type { StateMachine } from '../../vr/ports.ts';
import type { SequentialModel } from '../checkers/sequential_model.ts';

export interface Operation {
  /** Different from every other operation's of the run, so that one that is executed twice is noticed. */
  readonly body: Buffer;
  /** Null: a write. */
  readonly read: Consistency | null;
}

export interface Workload {
  next(random: Prng): Operation;
  /** The body of some read. */
  read(random: Prng): Buffer;
  keepAlive(seenOp: number): Buffer;
  /** Learns from results what to ask next (versions for compare-and-set). */
  answered(body: Buffer, result: Buffer): void;
}

export interface Application {
  /** The records of a formatted group. */
  format(): TableRecord[];
  stateMachine(table: Table): StateMachine;
  model(): SequentialModel;
  workload(): Workload;
}
