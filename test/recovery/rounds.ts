/** Changes that are the same for whoever makes them: those of a round depend on its number alone. */
import { Prng } from '../../lib/prng.ts';

interface Changeable {
  put(key: Buffer, value: Buffer): void;
  delete(key: Buffer): void;
}

/** As those of inodes are: number, kind. */
function keyOf(inode: number, kind: number): Buffer {
  const key = Buffer.alloc(7);
  key.writeUIntBE(inode, 0, 6);
  key[6] = kind;
  return key;
}

const INODES = 3000;

export function applyRound(round: number, changes: number, tables: readonly Changeable[]): void {
  const r = new Prng(round);
  for (let i = 0; i < changes; i++) {
    const key = keyOf(r.below(INODES), r.below(3));
    const value = r.chance(0.3) ? null : r.bytes(r.below(60));
    for (const table of tables) {
      if (value === null) table.delete(key);
      else table.put(key, value);
    }
  }
}
