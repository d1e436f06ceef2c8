/**
 * An open directory as the kernel reads it: by positions (1 behind '.', 2 behind '..', then one an entry), while the namespace pages by name. The name before each
 * page is remembered, so that any position that was given out can be read again (seekdir); only the newest pages keep their entries, so that a huge
 * directory costs little memory. Entries that neither come nor go during the reading are met exactly once, because each page goes on behind a name.
 */
import type { Ino } from '../lib/ids.ts';
import { EMPTY } from '../lib/bytes.ts';
import { assert } from '../lib/assert.ts';
import type { Attributes, DirectoryEntry, Result } from '../fsservice/operations.ts';
import { typeBits } from './attributes.ts';
import type { Outcome } from './vfs.ts';

export type FetchPage = (after: Buffer, limit: number) => Promise<Result<'readdir'>>;

export interface StreamEntry {
  readonly ino: number;
  /** DT_*. */
  readonly type: number;
  readonly name: Buffer;
  /** Absent for '.' and '..'. */
  readonly attributes?: Attributes;
}

interface Page {
  /** Position of the first entry. */
  readonly base: number;
  readonly count: number;
  /** The name before the page. */
  readonly after: Buffer;
  readonly end: boolean;
  entries: readonly StreamEntry[] | null;
}

const PAGE = 500;
const PAGES_KEPT = 2;
const DOTS = 2;
const DT_DIRECTORY = typeBits('directory') >> 12;

export class DirectoryStream {
  readonly #fetch: FetchPage;
  #pages: Page[] = [];
  #dots: readonly StreamEntry[] = [];

  constructor(fetch: FetchPage) {
    this.#fetch = fetch;
  }

  /** Entries from `position` on: at least one, or none at the end. From 0 the directory is read anew (opendir, rewinddir). */
  async from(position: number): Promise<Outcome<readonly StreamEntry[]>> {
    if (position === 0) this.#pages = [];
    if (this.#pages.length === 0) {
      const first = await this.#append(EMPTY);
      if (!first.ok) return first;
    }
    if (position < DOTS) return { ok: true, value: this.#dots.slice(position) };
    const page = await this.#pageAt(position);
    if (!page.ok || page.value === undefined) return page.ok ? { ok: true, value: [] } : page;
    return { ok: true, value: (page.value.entries ?? []).slice(position - page.value.base) };
  }

  /** The page with the entry at `position`; undefined behind the end. A position of before the stream was read anew (seekdir) may be many pages on: none of them can be left out, since only the one before says where the next begins. */
  async #pageAt(position: number): Promise<Outcome<Page | undefined>> {
    for (;;) {
      const known = this.#pages.findLast((page) => page.base <= position);
      assert(known !== undefined, 'the first page begins behind the dots');
      if (position < known.base + known.count) return known.entries === null ? this.#reload(known) : { ok: true, value: known };
      if (known.end) return { ok: true, value: undefined };
      const last = known.entries?.at(-1)?.name;
      assert(last !== undefined, 'the newest page keeps its entries and is not empty');
      const next = await this.#append(last);
      if (!next.ok) return next;
    }
  }

  async #append(after: Buffer): Promise<Outcome<Page>> {
    const answer = await this.#fetch(after, PAGE);
    if (!answer.ok) return answer;
    const { ino, parent, entries, end } = answer.value;
    if (this.#pages.length === 0) this.#dots = [dot('.', ino), dot('..', parent)];
    const newest = this.#pages.at(-1);
    const page: Page = {
      base: newest === undefined ? DOTS : newest.base + newest.count,
      count: entries.length,
      after: Buffer.from(after),
      end: end || entries.length === 0,
      entries: entries.map(streamEntry),
    };
    this.#pages.push(page);
    const old = this.#pages.at(-1 - PAGES_KEPT);
    if (old !== undefined) old.entries = null;
    return { ok: true, value: page };
  }

  /** seekdir far back: what has come or gone meanwhile may shift positions within this page, as it may in any file system without stable cookies. */
  async #reload(page: Page): Promise<Outcome<Page>> {
    const answer = await this.#fetch(page.after, page.count);
    if (!answer.ok) return answer;
    return { ok: true, value: { ...page, entries: answer.value.entries.map(streamEntry) } };
  }
}

function dot(name: string, ino: Ino): StreamEntry {
  return { ino, type: DT_DIRECTORY, name: Buffer.from(name, 'latin1') };
}

function streamEntry(entry: DirectoryEntry): StreamEntry {
  return { ino: entry.ino, type: typeBits(entry.type) >> 12, name: entry.name, attributes: entry.attributes };
}
