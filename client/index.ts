/** What programs outside this repository use. */
export { MAX_TIMEOUT_MS, VrfsClient, type Completion, type ConnectOptions, type Consistency, type QueryOptions } from './client.ts';
export { BadAnswer, Behind, Busy, CheckpointUnavailable, Closed, FileChanged, InvalidCall, NotReachable, NotVerified, OutcomeUnknown, TimedOut, VrfsError, WrongArgument } from './errors.ts';
export { FileSystem, processCredentials, type AppendFileOptions, type FileSystemOptions, type ReadFileOptions, type ReaddirOptions, type WriteFileOptions } from './file_system.ts';
export type { Content } from './file_content.ts';
export { FsError, isFsError } from './fs_error.ts';
export { verifiedStat, type VerifiedStat, type VerifyOptions } from './verified_stat.ts';
export { diffNamespaces, type Aspect, type NamespaceDiff, type NamespaceDiffOptions, type PathChange } from './checkpoint_diff.ts';
export { RemoteCheckpoint } from './remote_checkpoint.ts';
export { verifyPathProof, type PathProof, type TrustedRoot } from './path_proof.ts';
export { namesOfPath, type PathOutcome } from '../fsservice/proven_path.ts';
export { Dirent, Stats } from './stats.ts';
export type { PathLike } from './paths.ts';
export { Errno } from '../fsservice/errno.ts';
export * from '../fsservice/operations.ts';
