/** A mount process over a namespace in its own memory: what a mount does without a group. */
import { mountProcessMain } from '../../mount/mount_process.ts';
import { MemoryGroup } from '../mount/memory_group.ts';

const group = new MemoryGroup();
mountProcessMain(() => Promise.resolve(group.client()));
