/** How much of each test is run: a bounded sample by default, all of it with `npm run test:recovery`. */
export const LONG: boolean = process.env['VRFS_RECOVERY'] === 'long';

export function sized(sample: number, all: number): number {
  return LONG ? all : sample;
}
