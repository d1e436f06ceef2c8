/** What to do about a member that has lost what it had promised, for the messages that say so. */

/** Formatted anew it would vote without remembering what it has acknowledged. */
export const REPLACE =
  'Do not format it anew: it would vote without knowing what it has acknowledged, and its peers refuse it. ' +
  'Put a new node in its place: "vrfs serve --join" in an empty directory, then "vrfs members replace"';

/** Its whole directory is not there. */
export const GONE = `put the directory back from where it went (an older copy is unsafe too), or keep the group running on the other members. ${REPLACE}`;
