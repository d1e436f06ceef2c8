/** What the exit code of `vrfs` means. Constant: scripts rely on it. `vrfs --help` prints this table. */
export const ExitCode = {
  ok: 0,
  /** The file system refused (ENOENT, EEXIST, ...), or a command has something bad to report. */
  failed: 1,
  /** The command line is wrong. */
  usage: 2,
  /** No replica can be reached, or the group did not answer in time; nothing was changed. */
  unreachable: 3,
  /** The change was sent, and whether it was made is not known: look before repeating it. */
  outcomeUnknown: 4,
  /** This machine or directory does not allow it: a port in use, a foreign data directory, no FUSE. The message names the remedy. */
  environment: 5,
  /** A fault of vrfs. */
  internal: 70,
  /** Ended by Ctrl-C. */
  interrupted: 130,
  /** Ended by SIGTERM. */
  terminated: 143,
} as const;
export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode];

export const EXIT_CODES_HELP = `Exit codes:
  0   done
  1   the file system refused (the message names the errno)
  2   the command line is wrong
  3   no replica can be reached, no primary answers, or the group is busy; nothing was changed
  4   the change was sent, its outcome is not known: look before you repeat it
  5   this machine or directory does not allow it; the message names the remedy
  70  a fault of vrfs
  130 interrupted (143 by SIGTERM)`;
