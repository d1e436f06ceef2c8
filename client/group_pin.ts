/**
 * Which group a client speaks to: the one that it was given, or the first that answers, and from then on no other. A session and its sequence
 * numbers mean something in their own group alone: at the same addresses there may be another one by now, as after a revival from a checkpoint
 * (vr/revival.ts), and there the same session may be somebody else's.
 */
const ANY_GROUP: Buffer = Buffer.alloc(16);

export class GroupPin {
  #id: Buffer;

  /** 16 bytes; default: whichever answers. */
  constructor(id: Buffer = ANY_GROUP) {
    this.#id = id;
  }

  /** For the Hello: a replica of another group then refuses it. */
  get wanted(): Buffer {
    return this.#id;
  }

  /** Null: any group will do, and none has answered yet. */
  get found(): Buffer | null {
    return this.#id.equals(ANY_GROUP) ? null : this.#id;
  }

  /** A replica of this group has answered: null, or why it is not to be spoken to. */
  refusal(found: Buffer): string | null {
    if (this.#id.equals(ANY_GROUP)) this.#id = Buffer.from(found);
    if (this.#id.equals(found)) return null;
    return `it belongs to group ${found.toString('hex')}, and this client to ${this.#id.toString('hex')}: ${START_ANEW}`;
  }
}

export const START_ANEW = 'check the list of servers, or, if the group was revived from a checkpoint since, start the client (or mount) anew';
