/** Uploads under way. One that is cut off when its replica stops still has a temporary file to remove, which takes an operation. */

export class Uploads {
  readonly #underWay = new Set<Promise<unknown>>();

  /** Resolves and rejects as `upload`. */
  async watch<T>(upload: Promise<T>): Promise<T> {
    this.#underWay.add(upload);
    try {
      return await upload;
    } finally {
      this.#underWay.delete(upload);
    }
  }

  /** Resolves when those under way have ended, well or not, and after so many milliseconds at the latest. */
  async ended(withinMs: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => { timer = setTimeout(resolve, withinMs); });
    await Promise.race([Promise.allSettled(this.#underWay), late]);
    clearTimeout(timer);
  }
}
