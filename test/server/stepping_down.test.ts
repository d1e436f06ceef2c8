import { describe, expect, it } from 'vitest';
import { epoch, memberId } from '../../lib/ids.ts';
import type { PeerLinks } from '../../server/peer_links.ts';
import { SteppingDown } from '../../server/stepping_down.ts';
import type { Replica } from '../../vr/replica.ts';
import { configuration } from '../../vr/configuration.ts';

const NEVER = 2 ** 31 - 1;
const members = [1, 2, 3].map((id) => ({ id: memberId(id), role: 'voter' as const, address: `h:${id}`, httpAddress: '' }));

function replica(phase: string): Replica {
  return { phase, otherElectors: [2, 3], configuration: configuration(epoch(0), members, 'disk') } as unknown as Replica;
}
function links(...to: number[]): PeerLinks {
  return { status: () => [2, 3].map((member) => ({ member, connected: to.includes(member) })) } as unknown as PeerLinks;
}

describe('a replica that has stepped down', () => {
  async function waitsFor(phase: string, peers: PeerLinks): Promise<boolean> {
    const steppingDown = new SteppingDown();
    let over = false;
    const wait = steppingDown.wait(NEVER).then(() => { over = true; });
    steppingDown.look(replica(phase), peers);
    await Promise.resolve();
    const waited = !over;
    // So that no timer stays.
    steppingDown.look(replica('normal'), peers);
    await wait;
    return waited;
  }

  it('waits while a view is being agreed on', async () => {
    expect(await waitsFor('view-change', links(2))).toBe(true);
  });
  it('has nothing to wait for as a backup, nor when no majority is connected', async () => {
    expect(await waitsFor('normal', links(2, 3))).toBe(false);
    expect(await waitsFor('view-change', links())).toBe(false);
  });
  it('waits no longer than it was told', async () => {
    await new SteppingDown().wait(1);
  });
});
