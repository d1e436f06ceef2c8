/** Each command is made by the file that the table names, and looks the same whether the others are loaded or not. */
import { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { COMMAND_FILES, filesFor } from '../../cli/commands.ts';
import { processIo } from '../../cli/io.ts';
import { buildProgram } from '../../cli/run.ts';
import { vrfs } from './harness.ts';

const ALL = COMMAND_FILES.flatMap(({ names }) => names);
const namesIn = (program: Command): string[] => program.commands.flatMap((c) => [c.name(), ...c.aliases()]);

describe('the table of commands', () => {
  it.each(COMMAND_FILES.map((file) => [file.names.join(', '), file] as const))('has what the file of %s makes', async (_, file) => {
    const program = new Command();
    (await file.load())(program, processIo());
    expect(namesIn(program)).toEqual(file.names);
  });

  it('names each once', () => {
    expect([...new Set(ALL)]).toEqual(ALL);
  });
});

describe('what is loaded', () => {
  it('is the file of the command', () => {
    for (const file of COMMAND_FILES) for (const name of file.names) expect(filesFor([name, '/x', '--help'])).toEqual([file]);
  });

  it('is nothing for the version', async () => {
    for (const option of ['--version', '-V']) {
      expect(filesFor([option])).toEqual([]);
      for (const more of [[], ['ls'], ['--help'], ['--nonsense'], ['nonsense']]) expect(await vrfs([option, ...more])).toMatchObject({ exitCode: 0, stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/) as string, stderr: '' });
    }
  });

  it.each([[[]], [['--help']], [['-h', 'ls']], [['help']], [['help', 'stat']], [['lss']], [['--json', 'ls']], [['--', 'ls']], [['']]])('is everything for %j', (args) => {
    expect(filesFor(args)).toBe(COMMAND_FILES);
  });
});

describe('the text of a command', () => {
  it.each(ALL)('%s is the same whether the others are loaded or not', async (name) => {
    const alone = await vrfs([name, '--help']);
    expect(alone).toMatchObject({ exitCode: 0, stderr: '' });
    expect((await vrfs(['help', name])).stdout).toBe(alone.stdout);
  });

  it('of the program has every command in the order of the table', async () => {
    const program = await buildProgram(processIo());
    expect(namesIn(program)).toEqual(ALL);
    expect((await vrfs(['--help'])).stdout).toContain(program.helpInformation());
  });

  it('of a name that there is not has one that is like it', async () => {
    expect(await vrfs(['statt'])).toMatchObject({ exitCode: 2, stderr: expect.stringContaining("unknown command 'statt'\n(Did you mean one of start, stat?)") as string });
  });
});
