/** What `startMount` and the mount process tell each other over the IPC channel, and when. */
import type { Binding } from './binding.ts';
import type { MountOptions } from './mount_options.ts';

export interface MountJob {
  /** Addresses of replicas, "host:port". */
  readonly servers: readonly string[];
  readonly mountpoint: string;
  readonly options: MountOptions;
  /** How long a call of a program may wait for the group before it fails with ETIMEDOUT. */
  readonly requestTimeoutMs: number;
  /** Stay when the starter ends (`vrfs mount --background`); otherwise the mount ends with it. */
  readonly background: boolean;
  readonly logLevel: string;
}

export type ToMount =
  /** First, once. */
  | { readonly type: 'mount'; readonly job: MountJob }
  | { readonly type: 'unmount' };

export type FromMount =
  | { readonly type: 'mounted'; readonly binding: Binding['kind'] }
  /** Instead of 'mounted'; the process then ends. */
  | { readonly type: 'failed'; readonly what: string; readonly remedy: string };
