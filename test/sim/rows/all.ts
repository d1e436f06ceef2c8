/** All rows, in order. */
import { amnesia } from './row_01_amnesia.ts';
import { truncationOnTransfer } from './row_02_truncation.ts';
import { checkpointAdoption } from './row_03_checkpoint.ts';
import { shortSuffixes } from './row_04_short_suffix.ts';
import { logViewOverRestart } from './row_05_log_view.ts';
import { atomicInstall } from './row_06_atomic_install.ts';
import { restartedPrimary } from './row_07_restarted_primary.ts';
import { recoverySuffix } from './row_08_superseded_tail.ts';
import { logCollection } from './row_09_log_collection.ts';
import { nonces } from './row_10_nonces.ts';
import { recoveringVoter } from './row_11_recovering_voter.ts';
import { wholeGroup } from './row_12_everybody.ts';
import type { Row } from './row.ts';

export const ROWS: readonly Row[] = [
  amnesia, truncationOnTransfer, checkpointAdoption, shortSuffixes, logViewOverRestart, atomicInstall, restartedPrimary, recoverySuffix, logCollection, nonces, recoveringVoter, wholeGroup,
];
