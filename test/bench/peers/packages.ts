/** The other systems come as Debian packages; only what is missing is installed, and by root alone. */
import { execFileSync } from 'node:child_process';
import { existsSync, rmSync, writeFileSync } from 'node:fs';

export class PackageError extends Error {
  override readonly name = 'PackageError';
}

/** By package: a file that is there when it is installed. */
const PROGRAMS: Readonly<Record<string, string>> = {
  'etcd-server': '/usr/bin/etcd',
  zookeeper: '/usr/share/java/zookeeper.jar',
  // Of which there are several: any program `java` will do.
  'default-jre-headless': '/usr/bin/java',
};

export const ETCD_PACKAGES = ['etcd-server'] as const;
export const ZOOKEEPER_PACKAGES = ['zookeeper', 'default-jre-headless'] as const;

/** A machine's own policy on whether the installation of a package starts its service. */
const POLICY = '/usr/sbin/policy-rc.d';

export function missing(packages: readonly string[], exists: (file: string) => boolean = existsSync): string[] {
  return packages.filter((p) => {
    const file = PROGRAMS[p];
    return file === undefined || !exists(file);
  });
}

/** Installs those that are missing; says so before it does. @throws PackageError with what to do */
export function install(packages: readonly string[], say: (line: string) => void): void {
  const wanted = missing(packages);
  if (wanted.length === 0) return;
  const command = `apt-get install -y --no-install-recommends ${wanted.join(' ')}`;
  if (process.getuid?.() !== 0) throw new PackageError(`${wanted.join(' and ')} ${wanted.length > 1 ? 'are' : 'is'} not installed, which takes root: as root, ${command}`);
  say(`installing ${wanted.join(', ')} ...`);
  // The benchmark starts servers of its own; the packages' services would only be in its way.
  const guarded = !existsSync(POLICY);
  if (guarded) writeFileSync(POLICY, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  try {
    apt(['update']);
    apt(['install', '-y', '--no-install-recommends', ...wanted]);
  } catch (error) {
    throw new PackageError(`${command} failed: ${said(error)}`, { cause: error });
  } finally {
    if (guarded) rmSync(POLICY);
  }
  const still = missing(wanted);
  if (still.length > 0) throw new PackageError(`apt-get has installed ${still.join(', ')}, but there is no ${still.map((p) => PROGRAMS[p] ?? p).join(', ')}: is this Debian 12 or later?`);
}

/** As dpkg knows it; a server's own answer may be a placeholder of its build. */
export function versionOf(name: string): string {
  return execFileSync('dpkg-query', ['--show', '--showformat=${Version}', name], { encoding: 'utf8' });
}

function apt(args: readonly string[]): void {
  execFileSync('apt-get', args, { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } });
}
function said(error: unknown): string {
  const { code, stderr } = error as { readonly code?: string; readonly stderr?: Buffer };
  if (code === 'ENOENT') return 'there is no apt-get on this machine';
  return String(stderr ?? error).trim().split('\n').slice(-3).join(' ');
}
