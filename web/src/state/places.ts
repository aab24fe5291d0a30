/** Where the page writes what it remembers: the browser's storage, or, where the browser gives none, its own memory. */

/** Forgets all with the page. */
export class Memory implements Storage {
  private readonly entries = new Map<string, string>();
  get length(): number {
    return this.entries.size;
  }
  clear(): void {
    this.entries.clear();
  }
  getItem(key: string): string | null {
    return this.entries.get(key) ?? null;
  }
  key(index: number): string | null {
    return [...this.entries.keys()][index] ?? null;
  }
  removeItem(key: string): void {
    this.entries.delete(key);
  }
  setItem(key: string, value: string): void {
    this.entries.set(key, value);
  }
}

/** Where cookies are blocked, even naming the storage throws; elsewhere it is null. */
export function placeOf(found: () => Storage | null): Storage {
  try {
    const storage = found();
    storage?.getItem("subtide");
    return storage ?? new Memory();
  } catch {
    return new Memory();
  }
}

/** For as long as the browser likes, and for as long as the tab is open. */
export const lasting = placeOf(() => localStorage);
export const passing = placeOf(() => sessionStorage);
