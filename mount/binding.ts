/** What carries the kernel's calls to the Vfs and back. Two of them: fuse_native_binding.ts, kernel_binding.ts. */
import { VrfsError } from '../client/errors.ts';
import { Errno } from '../fsservice/errno.ts';

export interface Binding {
  readonly kind: 'kernel' | 'fuse-native';
  /** Resolves when the kernel has said FUSE_INIT, i.e. calls are answered. Rejects with a MountError. */
  mount(): Promise<void>;
  /** Takes the mount out of the tree, by force (lazily) where programs still hold it. */
  unmount(): Promise<void>;
  /** Resolves when the mount has gone, whoever took it away. */
  readonly ended: Promise<void>;
}

/** A mount that cannot be had: what is wrong, and what to do about it. */
export class MountError extends Error {
  override readonly name = 'MountError';
  readonly remedy: string;

  constructor(what: string, remedy: string, options?: ErrorOptions) {
    super(what, options);
    this.remedy = remedy;
  }
}

/** The part of pino's logger that the mount uses. */
export interface MountLog {
  info(data: object, message: string): void;
  warn(data: object, message: string): void;
  error(data: object, message: string): void;
}

/** The errno for a call that got no answer (client/errors.ts says why), of which nothing better is known. */
export function errnoOfRejection(error: unknown): number {
  if (!(error instanceof VrfsError)) return Errno.EIO;
  switch (error.name) {
    case 'NotReachable':
    case 'TimedOut': return Errno.ETIMEDOUT;
    case 'InvalidCall': return Errno.EINVAL;
    case 'Busy':
    case 'Behind': return Errno.EAGAIN;
    // Whether it was executed is not known: the caller has to look.
    default: return Errno.EIO;
  }
}
