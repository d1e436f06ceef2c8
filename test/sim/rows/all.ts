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
import { silentBackup } from './row_13_silent_backup.ts';
import { preparedTable } from './row_14_prepared_table.ts';
import { restoredTable } from './row_15_restored_table.ts';
import { lostVotes } from './row_16_lost_votes.ts';
import { foreignCommit } from './row_17_foreign_commit.ts';
import { leases } from './row_18_leases.ts';
import { times } from './row_19_time.ts';
import { epochs } from './row_20_epochs.ts';
import { witnesses } from './row_21_witnesses.ts';
import { liveness } from './row_22_liveness.ts';
import type { Row } from './row.ts';

export const ROWS: readonly Row[] = [
  amnesia, truncationOnTransfer, checkpointAdoption, shortSuffixes, logViewOverRestart, atomicInstall, restartedPrimary, recoverySuffix, logCollection, nonces, recoveringVoter, wholeGroup,
  silentBackup, preparedTable, restoredTable, lostVotes, foreignCommit, leases, times, epochs, witnesses, liveness,
];
