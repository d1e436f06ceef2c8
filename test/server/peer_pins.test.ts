import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { memberId } from '../../lib/ids.ts';
import { DataDirectoryError } from '../../server/data_directory.ts';
import { PeerPins } from '../../server/peer_pins.ts';

const directories: string[] = [];
afterEach(() => { for (const d of directories.splice(0)) rmSync(d, { recursive: true }); });
function directory(): string {
  const d = mkdtempSync(join(tmpdir(), 'vrfs-pins-'));
  directories.push(d);
  return d;
}
const one = Buffer.alloc(16, 1);
const other = Buffer.alloc(16, 2);

describe('which data directory a member comes with', () => {
  it('is taken at the first meeting, and is no other later, nor after a restart', () => {
    const d = directory();
    const pins = new PeerPins(d);
    expect(pins.refusal(memberId(7), one)).toBeNull();
    expect(pins.refusal(memberId(7), one)).toBeNull();
    expect(pins.refusal(memberId(7), other)).toMatch(/member 7 comes with another data directory than before/);
    const restarted = new PeerPins(d);
    expect(restarted.refusal(memberId(7), other)).toMatch(/vrfs members replace/);
    expect(restarted.refusal(memberId(7), one)).toBeNull();
    expect(restarted.refusal(memberId(8), other)).toBeNull();
    expect(JSON.parse(readFileSync(join(d, 'peers.json'), 'utf8'))).toMatchObject({ members: { 7: one.toString('hex'), 8: other.toString('hex') } });
  });

  it('is known from a file of the first version, which had no checksum', () => {
    const d = directory();
    writeFileSync(join(d, 'peers.json'), JSON.stringify({ 7: one.toString('hex') }));
    expect(new PeerPins(d).refusal(memberId(7), other)).toMatch(/another data directory than before/);
    expect(new PeerPins(d).refusal(memberId(8), one)).toBeNull();
    expect(new PeerPins(d).refusal(memberId(7), one)).toBeNull();
  });

  it('is not guessed when its file is torn, or one digit of it is another: the error says what to do', () => {
    const d = directory();
    new PeerPins(d).refusal(memberId(7), one);
    const whole = readFileSync(join(d, 'peers.json'), 'utf8');
    const otherDigit = whole.replace('01', '03');
    expect(otherDigit).not.toBe(whole);
    for (const bad of ['', whole.slice(0, 20), otherDigit, '{"7":"xyz"}']) {
      writeFileSync(join(d, 'peers.json'), bad);
      expect(() => new PeerPins(d)).toThrow(DataDirectoryError);
      expect(() => new PeerPins(d)).toThrow(/peers\.json is damaged \(.+\).*Put a copy of it back; if there is none/s);
    }
  });

  it('cannot be taken while it cannot be stored: the member is refused with the reason, and met again later', () => {
    const d = directory();
    new PeerPins(d).refusal(memberId(7), one);
    const pins = new PeerPins(d);
    // As a full disk has it. To the superuser nothing is forbidden; a directory in its place fails for everybody.
    mkdirSync(join(d, 'peers.json.new'));
    expect(pins.refusal(memberId(8), one)).toMatch(/^with which data directory member 8 comes cannot be stored in .*peers\.json \(EISDIR.*\).*Make room there or check that disk; .* by itself/);
    expect(pins.refusal(memberId(7), one)).toBeNull();
    // Nothing was kept in memory either: another one may come first.
    expect(pins.refusal(memberId(8), other)).toMatch(/cannot be stored/);
    rmSync(join(d, 'peers.json.new'), { recursive: true });
    expect(pins.refusal(memberId(8), other)).toBeNull();
    expect(new PeerPins(d).refusal(memberId(8), one)).toMatch(/another data directory than before/);
    expect(new PeerPins(d).refusal(memberId(7), one)).toBeNull();
  });

  it('is in a file that nobody is told to remove when only reading it failed', () => {
    const d = directory();
    // To the superuser nothing is forbidden; a directory in its place fails for everybody.
    mkdirSync(join(d, 'peers.json'));
    expect(() => new PeerPins(d)).toThrow(DataDirectoryError);
    expect(() => new PeerPins(d)).toThrow(/peers\.json cannot be read \(EISDIR/);
    expect(() => new PeerPins(d)).not.toThrow(/remove/);
    const denied = (code: string) => (): string => { throw Object.assign(new Error(`${code}: told by a test, open`), { code }); };
    for (const [code, remedy] of [['EACCES', 'give this user the right to read it'], ['EPERM', 'give this user the right to read it'], ['EIO', 'check the disk']] as const) {
      expect(() => new PeerPins(d, denied(code))).toThrow(new RegExp(`cannot be read \\(${code}.*${remedy}`));
      expect(() => new PeerPins(d, denied(code))).not.toThrow(/remove/);
    }
    expect(new PeerPins(d, denied('ENOENT')).refusal).toBeTypeOf('function');
  });
});
