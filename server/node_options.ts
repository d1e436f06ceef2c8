/** How node itself is to be started for a replica. */

/**
 * For node, not for vrfs: the arguments that stand before the program. A replica makes many buffers that live for one round trip;
 * with V8's default young generation of 16 MB they are still in use when it is collected, and are copied and kept as if they were old.
 * With semi-spaces of 32 MB there are fewer collections and what they find is dead (docs/PERFORMANCE.md). It takes up to 96 MB of memory.
 */
export const REPLICA_NODE_OPTIONS: readonly string[] = Object.freeze(['--max-semi-space-size=32']);
