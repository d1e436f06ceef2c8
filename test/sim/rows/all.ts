/** All rows, in order. */
import { amnesia } from './row_01_amnesia.ts';
import { truncationOnTransfer } from './row_02_truncation.ts';
import { checkpointAdoption } from './row_03_checkpoint.ts';
import type { Row } from './row.ts';

export const ROWS: readonly Row[] = [amnesia, truncationOnTransfer, checkpointAdoption];
