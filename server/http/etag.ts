/**
 * Entity tags and preconditions. The tag of a file is its inode's version in quotes; a version is the op-number of the last
 * change, so no two states of a path share one. What a precondition asks is a pure function of the headers; how it is kept
 * atomic is the handler's affair (putFile's `ifVersion`).
 */
import type { IncomingHttpHeaders } from 'node:http';
import { badRequest } from './problem.ts';

export type TagSet =
  | { readonly type: 'any' }
  /** Strong tags alone; weak ones never match in a comparison that guards a change. */
  | { readonly type: 'versions'; readonly versions: readonly number[] };

export interface Preconditions {
  readonly ifMatch: TagSet | null;
  readonly ifNoneMatch: TagSet | null;
}

export const NO_PRECONDITIONS: Preconditions = Object.freeze({ ifMatch: null, ifNoneMatch: null });

export function etag(version: number): string {
  return `"${version}"`;
}

function parseTags(header: string, name: string, weak: boolean): TagSet {
  if (header.trim() === '*') return { type: 'any' };
  const versions: number[] = [];
  for (const part of header.split(',')) {
    const match = /^\s*(W\/)?"([^"]*)"\s*$/.exec(part);
    if (match === null) throw badRequest(`${name} is '${header.slice(0, 80)}', which is not a list of entity tags.`, `Send the ETag of an earlier answer with its quotes, as in ${name}: "1234", or *.`);
    // A tag that is no version of ours is well-formed, and matches nothing. (Version 0 would mean "no such file" to putFile.)
    if ((match[1] === undefined || weak) && /^[1-9]\d{0,14}$/.test(match[2] ?? '')) versions.push(Number(match[2]));
  }
  return { type: 'versions', versions };
}

export function preconditionsOf(headers: IncomingHttpHeaders, forChange: boolean): Preconditions {
  const ifMatch = headers['if-match'];
  const ifNoneMatch = headers['if-none-match'];
  if (ifMatch === undefined && ifNoneMatch === undefined) return NO_PRECONDITIONS;
  return {
    ifMatch: ifMatch === undefined ? null : parseTags(ifMatch, 'If-Match', false),
    ifNoneMatch: ifNoneMatch === undefined ? null : parseTags(ifNoneMatch, 'If-None-Match', !forChange),
  };
}

/** `version`: the file's now, or null when there is none. */
export function matches(tags: TagSet, version: number | null): boolean {
  if (version === null) return false;
  return tags.type === 'any' || tags.versions.includes(version);
}

/** Whether a change may go on, given the file as it is now. */
export function allows(p: Preconditions, version: number | null): boolean {
  if (p.ifMatch !== null && !matches(p.ifMatch, version)) return false;
  return p.ifNoneMatch === null || !matches(p.ifNoneMatch, version);
}

/** The compare-and-set version that alone decides the precondition, where there is one: no look at the file is needed before. */
export function directVersion(p: Preconditions): number | null {
  const { ifMatch, ifNoneMatch } = p;
  if (ifMatch === null && ifNoneMatch?.type === 'any') return 0;
  if (ifNoneMatch === null && ifMatch?.type === 'versions' && ifMatch.versions.length === 1) return ifMatch.versions[0] ?? null;
  return null;
}
