/** An answer of a donor with all of its nodes, as one value. */
import type { Decoded } from '../../lib/bytes.ts';
import { decodeAnswer, isFollowed, toldChildren, type NodeAnswer, type NodeRequest, type TopAnswer, type TransferAnswer, type TransferRequest } from '../../checkpoint/transfer_messages.ts';

export interface WholeNodes {
  readonly type: 'nodes';
  readonly top: TopAnswer | null;
  readonly nodes: readonly NodeAnswer[];
}
export type WholeAnswer = Exclude<TransferAnswer, { type: 'nodes' }> | WholeNodes;

export function decodeWhole(bytes: Buffer, request: TransferRequest): Decoded<WholeAnswer> {
  const decoded = decodeAnswer(bytes, request);
  if (!decoded.ok || decoded.value.type !== 'nodes') return decoded as Decoded<WholeAnswer>;
  const { top, nodes: left } = decoded.value;
  const places: NodeRequest[] = [...request.items];
  if (top !== null && top.top !== null) places.unshift({ ...top.top.place, full: request.top === 'full' });
  const nodes: NodeAnswer[] = [];
  while (!left.isDone) {
    const place = places[nodes.length];
    const next = left.next(place);
    if (!next.ok) return next;
    const node = next.value as NodeAnswer;
    nodes.push(node);
    if (node.kind === 'inner' && place !== undefined && isFollowed(request, place)) places.push(...toldChildren(place, node.slots));
  }
  return { ok: true, value: { type: 'nodes', top, nodes } };
}
