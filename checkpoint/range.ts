/** A bounded range over overlays (newest first) and the tree below them, merged in key order. */
import type { TableRecord } from '../lib/table.ts';
import type { NodeSource, Top } from './merkle_tree.ts';
import { bytesOf, type Overlay, type Value } from './overlay.ts';
import { KeyCursor } from './tree_walk.ts';

export interface RangeSources {
  readonly overlays: readonly Overlay[];
  readonly source: NodeSource;
  readonly top: Top;
  /** The value of a record of the tree. */
  readonly value: (id: string) => Value | undefined;
}

interface Cursor {
  next(): string | undefined;
}

export function rangeOf({ overlays, source, top, value }: RangeSources, start: Buffer, end: Buffer, limit: number): TableRecord[] {
  const out: TableRecord[] = [];
  const startId = start.latin1Slice(0, start.length);
  const endId = end.latin1Slice(0, end.length);
  if (limit <= 0 || startId >= endId) return out;
  // Newest first, the tree last: of equal keys the first cursor's counts.
  const cursors: Cursor[] = overlays.map((overlay) => overlay.cursor(startId));
  cursors.push(new KeyCursor(source, top, start));
  const heads = cursors.map((cursor) => cursor.next());
  while (out.length < limit) {
    let least: string | undefined;
    let at = -1;
    for (let i = 0; i < heads.length; i++) {
      const head = heads[i];
      if (head !== undefined && (least === undefined || head < least)) {
        least = head;
        at = i;
      }
    }
    if (least === undefined || least >= endId) break;
    for (let i = 0; i < heads.length; i++) if (heads[i] === least) heads[i] = (cursors[i] as Cursor).next();
    const overlay = overlays[at];
    const found = overlay === undefined ? value(least) : overlay.get(least);
    if (found !== undefined && found !== null) out.push([Buffer.from(least, 'latin1'), bytesOf(found)]);
  }
  return out;
}
