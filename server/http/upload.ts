/** A file longer than one operation can carry (client/replace_file.ts). */
import { EMPTY } from '../../lib/bytes.ts';
import { replaceFile } from '../../client/replace_file.ts';
import { Errno } from '../../fsservice/errno.ts';
import type { Attributes } from '../../fsservice/operations.ts';
import { pieces, type Body } from './body.ts';
import type { Gateway } from './gateway.ts';
import type { HttpLog } from './ports.ts';
import { printable } from './bytes_text.ts';

export interface Upload {
  readonly body: Body;
  /** Of a new file; an existing one keeps its own. */
  readonly mode: number;
  /** Fail with EEXIST when the target exists at the end. */
  readonly exclusive: boolean;
  /** Bytes. */
  readonly limit: number;
}

export async function upload(gateway: Gateway, log: HttpLog, { body, mode, exclusive, limit }: Upload): Promise<{ readonly attributes: Attributes; readonly created: boolean }> {
  const { ino, created } = await replaceFile(gateway.operations, {
    path: gateway.path,
    mode,
    exclusive,
    pieces: pieces(body, limit),
    refusal: (errno) => gateway.refusal(errno, 'put', exclusive && errno === Errno.EEXIST ? 412 : undefined),
    leftBehind: (temporary, reason, error) => {
      log.warn({ err: reason, path: printable(temporary) }, 'a temporary file of an upload that failed could not be removed; remove it by hand');
      return error;
    },
  });
  const { attributes } = await gateway.query({ type: 'getattr', at: { dir: ino, path: EMPTY }, follow: false });
  return { attributes, created };
}
