/** The target of a request: a path, as clients send it, or a whole URL, as a proxy is sent it, which a server has to take too (RFC 9112, 3.2.2). */

const ABSOLUTE = /^https?:\/\/([^/?#]*)/i;

/** Without scheme and host. */
export function originForm(target: string): string {
  const match = ABSOLUTE.exec(target);
  if (match === null) return target;
  const rest = target.slice(match[0].length);
  return rest.startsWith('/') ? rest : `/${rest}`;
}

/** The host that a whole URL names, with its port; undefined: Host says it. */
export function hostOf(target: string): string | undefined {
  return ABSOLUTE.exec(target)?.[1];
}
