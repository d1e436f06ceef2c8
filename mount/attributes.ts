/** How Linux writes file types down, and what the mount tells beyond the namespace's own attributes. */
import type { FileType } from '../fsservice/operations.ts';

export const S_IFMT = 0o170000;

const TYPE_BITS: Readonly<Record<FileType, number>> = {
  fifo: 0o010000,
  character: 0o020000,
  directory: 0o040000,
  block: 0o060000,
  file: 0o100000,
  symlink: 0o120000,
  socket: 0o140000,
};

const TYPE_OF = new Map<number, FileType>(Object.entries(TYPE_BITS).map(([type, bits]) => [bits, type as FileType]));
// mknod(2): no type bits mean a regular file.
TYPE_OF.set(0, 'file');

export function typeBits(type: FileType): number {
  return TYPE_BITS[type];
}

/** The type in an st_mode; undefined for bits that Linux does not know. */
export function typeOfMode(mode: number): FileType | undefined {
  return TYPE_OF.get(mode & S_IFMT);
}

/** st_blksize: programs copy in pieces of this size, and one write of the kernel carries at most this much. */
export const IO_SIZE = 128 << 10;
