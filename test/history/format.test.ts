/** The file: what is written is read back, and what is wrong with a file is said with its line. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { headerLine, HistoryFormatError, operationLine, parseHistory, readHistory } from './format.ts';
import type { Operation } from './operations.ts';
import { calls, honestHistory, operation } from './samples.ts';

const HEADER = headerLine({ started: '2026-01-31T12:00:00.000Z', seconds: 30, replicas: 3, seed: 7, faults: ['kill'] });
const write = operationLine(operation('register/r', 1, [10, 20], calls.write('a'), null));

function refusal(...lines: readonly string[]): string {
  try {
    parseHistory(lines.join(''), 'h.jsonl');
  } catch (error) {
    if (error instanceof HistoryFormatError) return error.message;
    throw error;
  }
  throw new Error('the file was accepted');
}

describe('a history file', () => {
  it('has the documented lines', () => {
    expect(HEADER).toBe('{"format":"vrfs-history","version":2,"started":"2026-01-31T12:00:00.000Z","seconds":30,"replicas":3,"seed":7,"faults":["kill"],"time":"ns"}\n');
    expect(write).toBe('{"process":1,"object":"register/r","operation":"write","arguments":{"value":"a"},"outcome":"ok","result":null,"invoke":10,"return":20,"replica":1}\n');
    expect(operationLine(operation('directory/d', 2, [10, null], calls.rename('x', 'y', false)))).toBe(
      '{"process":2,"object":"directory/d","operation":"rename","arguments":{"from":"x","to":"y","replace":false},"outcome":"info","error":"no answer","invoke":10,"return":null,"replica":1}\n');
  });

  it('gives back what was written', () => {
    const weak: Operation[] = [
      { ...operation('register/r', 901, [1, 2], calls.read, 'v'), consistency: 'causal' },
      { ...operation('register/r', 901, [3, 4], calls.read, 'v'), consistency: 'bounded', maxStalenessMs: 60 },
    ];
    const failed: Operation = { process: 900, object: 'register/r', invoke: 1, replica: 2, ...calls.read, outcome: 'fail', error: '503', return: 3 };
    const operations = [...honestHistory(1, 'register/r', 200, 4), failed, ...weak];
    const again = parseHistory(HEADER + operations.map(operationLine).join(''), 'h.jsonl');
    expect(again.header).toMatchObject({ replicas: 3, seed: 7, faults: ['kill'] });
    expect(again.operations).toEqual(operations);
    expect(parseHistory(HEADER + honestHistory(2, 'directory/d', 200, 4).map(operationLine).join(''), 'h.jsonl').operations).toHaveLength(200);
  });

  it('is refused as a whole where a line is wrong, with the line and what is wrong', () => {
    expect(refusal(write)).toMatch(/h\.jsonl line 1 is not the header of a vrfs-history file of version 2: /);
    expect(refusal(HEADER.replace('"version":2', '"version":1'))).toMatch(/line 1 .*version/);
    expect(refusal(HEADER, '{"process":1\n')).toMatch(/h\.jsonl line 2 is not JSON/);
    expect(refusal(HEADER, write.slice(0, -1))).toMatch(/does not end with a line break/);
    expect(refusal(HEADER, write.replace('"write"', '"increment"'))).toMatch(/line 2: the operation is "increment"; known are read, write, cas/);
    expect(refusal(HEADER, write, write.replace('"result":null', '"result":true').replace('"process":1', '"process":2'))).toMatch(/line 3 \(write\): result/);
    expect(refusal(HEADER, write.replace('"invoke":10', '"invoke":21'))).toMatch(/line 2 \(write\): it returned \(20\) before it was invoked \(21\)/);
    expect(refusal(HEADER, write.replace('"return":20', '"return":null'))).toMatch(/line 2 \(write\): return/);
    expect(refusal(HEADER, write.replace('"invoke":10', '"invoke":10.5'))).toMatch(/invoke/);
    expect(refusal(HEADER, write.replace('register/r', 'directory/r'))).toMatch(/directory\/r has no operation write/);
    expect(refusal(HEADER, write.replace('register/r', 'file/r'))).toMatch(/object/);
    expect(refusal(HEADER, write.replace('"outcome"', '"consistency":"causal","outcome"'))).toMatch(/line 2 \(write\): .*consistency/);
    const read = operationLine(operation('register/r', 1, [10, 20], calls.read, null));
    expect(refusal(HEADER, read.replace('"outcome"', '"consistency":"bounded","outcome"'))).toMatch(/maxStalenessMs belongs to a read with consistency "bounded"/);
    expect(refusal(HEADER, read.replace('"outcome"', '"consistency":"eventual","outcome"'))).toMatch(/consistency/);
    expect(refusal(HEADER, operationLine(operation('directory/d', 1, [1, 2], calls.rename('x', 'x'), 'ok')))).toMatch(/from and to are both x/);
  });

  it('is refused where a process has two operations under way', () => {
    const overlapping = operationLine(operation('register/other', 1, [15, 30], calls.read, null));
    expect(refusal(HEADER, write, overlapping)).toMatch(/process 1 invokes read at 15 ns while its write of 10 ns runs until 20 ns/);
    const unknown = operationLine(operation('register/r', 1, [10, null], calls.write('a')));
    expect(refusal(HEADER, unknown, operationLine(operation('register/r', 1, [90, 91], calls.read, null)))).toMatch(/never returned.*another number after an unknown outcome/);
  });

  it('that cannot be read is named', () => {
    const directory = mkdtempSync(join(tmpdir(), 'vrfs-format-'));
    try {
      expect(() => readHistory(join(directory, 'none.jsonl'))).toThrow(/none\.jsonl cannot be read/);
      writeFileSync(join(directory, 'h.jsonl'), HEADER + write);
      expect(readHistory(join(directory, 'h.jsonl')).operations).toHaveLength(1);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});
