/** Many questions to the group: one after the other each would cost a round trip, all at once the memory for all answers. */
import { defined } from '../lib/assert.ts';
import { onlyTheMoment } from '../lib/promises.ts';

/** How many are under way. */
export const ASKED_AT_ONCE = 64;

/** The answers of `ask` about each item, in the order of the items: each call gives the next one. Not to be called more often than there are items. */
export function askedAhead<T, A>(items: Iterable<T>, ask: (item: T) => Promise<A>): () => Promise<A> {
  const rest = items[Symbol.iterator]();
  const underWay: Promise<A>[] = [];
  return () => {
    while (underWay.length < ASKED_AT_ONCE) {
      const { done, value } = rest.next();
      if (done === true) break;
      const answer = ask(value);
      // One that fails is looked at in its turn, or not any more when one before it has ended all.
      answer.catch(onlyTheMoment);
      underWay.push(answer);
    }
    return defined(underWay.shift(), 'an item that was not asked for yet');
  };
}
