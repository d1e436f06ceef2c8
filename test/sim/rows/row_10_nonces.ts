/** Row 10, nonces from a counter that was reset: answers to an earlier recovery count for a later one. */
import type { Ports } from '../../../vr/ports.ts';
import type { Packet } from '../network.ts';
import { Scenario } from '../scenario.ts';
import { LOSS, type Breakage, type NamedScenario, type Row } from './row.ts';

const isAnswer = (p: Packet): boolean => p.to === 2 && (p.message.type === 'recoveryResponse' || p.message.type === 'newState');

/**
 * R2 recovers; copies of the answers stay in the network. It acknowledges X, which R1 misses, and crashes again. Now the copies arrive.
 * Whoever takes R2 for recovered may lose R0.
 */
function staleAnswers(broken: Breakage): void {
  const s = Scenario.settled({ durability: 'memory', ...broken });
  s.crash(2);
  const from = s.policy.sent.length;
  s.restart(2);
  s.converged();
  const copies = s.policy.sent.slice(from).filter(isAnswer);
  s.expect('both have answered, and the log has come', copies.length >= 3);
  s.cut(0, 1);
  s.write(1, 42);
  s.heal();
  s.cut(0, 1);
  s.crash(2);
  const fresh = s.hold((p) => p.to === 2);
  s.restart(2);
  s.run(5);
  for (const packet of copies) {
    s.cluster.network.release(packet);
    s.run(2);
  }
  if (s.status(2).status === 'normal') s.crash(0);
  fresh.stop();
  s.heal();
  s.converged(s.host(0).running ? [0, 1, 2] : [1, 2]);
  s.expect('X is there', s.read(1) === 42);
  const nonces = s.sent('recovery', { from: 2 }).map((m) => m.nonce.toString('hex'));
  s.expect('each attempt has a nonce of its own', new Set(nonces).size >= 2 && nonces.every((n) => n.length === 32));
}

const STALE: NamedScenario = { name: 'answers to an earlier recovery arrive late', run: staleAnswers };

/** A counter that starts anew with each process. */
function counts(ports: Ports): Ports {
  let next = 0;
  return {
    ...ports,
    random: {
      uint32: () => ports.random.uint32(),
      bytes: (n) => {
        const bytes = Buffer.alloc(n);
        bytes.writeUInt32BE(++next, n - 4);
        return bytes;
      },
    },
  };
}

export const nonces: Row = {
  row: 10,
  title: 'a nonce from a counter that was reset',
  scenarios: [STALE],
  mutants: [{
    name: 'counts its nonces from its start', breakage: { wrapPorts: counts }, scenario: STALE, killedBy: ['committed ops survive'],
    seeds: { replicas: 3, durability: 'memory', adjustProfile: (p) => ({ ...p, network: { ...p.network, lateReplay: 0.5 } }) }, foundBy: LOSS,
  }],
};
