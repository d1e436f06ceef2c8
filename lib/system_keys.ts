/**
 * Keys that belong to no inode. Every key starts with a 48-bit inode number; 0 is none, so these sort first.
 * `vr` owns the kinds below SESSION_KINDS_END, `fsservice` the rest (see fsservice/keys.ts).
 */
export const SystemKind = {
  /** session id (48 bits) → session record */
  session: 0x10,
  /** session id (48), slot (16) → slot record with the stored reply */
  slot: 0x11,
  /** registration nonce (16 bytes) → session id */
  registration: 0x12,
  /** → the newest epoch and where it began */
  configuration: 0x13,
  /** → how often checkpoints are taken, once that was changed */
  checkpointInterval: 0x14,
  /** first kind of the application */
  application: 0x40,
} as const;

/** `00 00 00 00 00 00 | kind | rest` */
export function systemKey(kind: number, rest: Buffer): Buffer {
  const key = Buffer.alloc(7 + rest.length);
  key[6] = kind;
  rest.copy(key, 7);
  return key;
}
