/**
 * The jobs of this browser, in `localStorage`: id, token and the last known state, newest first.
 *
 * Other tabs write there too, so every change reads first; what cannot be read is not there.
 */
import type { Job } from "../../generated/messages";

export interface Entry {
  readonly id: string;
  readonly token: string;
  /** When it was added, by the server's clock. */
  readonly addedAt: number;
  readonly job?: Job;
  readonly seq?: number;
}

const KEY = "subtide.jobs.1";
export const KEPT = 500;

export class JobStore {
  constructor(
    private readonly storage: Storage,
    private readonly key: string = KEY,
  ) {}

  all(): Entry[] {
    try {
      const found: unknown = JSON.parse(this.storage.getItem(this.key) ?? "[]");
      return Array.isArray(found) ? found.filter(isEntry) : [];
    } catch {
      return [];
    }
  }

  add(entry: Entry): void {
    this.write([entry, ...this.all().filter((other) => other.id !== entry.id)].slice(0, KEPT));
  }

  /** Keep what is known of jobs that are still there: another tab may have removed some. */
  update(known: ReadonlyMap<string, { job: Job; seq: number }>): void {
    this.write(
      this.all().map((entry) => {
        const now = known.get(entry.id);
        if (now === undefined || (entry.seq ?? -1) > now.seq) return entry;
        return { ...entry, job: { ...now.job, result: null }, seq: now.seq };
      }),
    );
  }

  remove(id: string): void {
    this.write(this.all().filter((entry) => entry.id !== id));
  }

  /** Whether a `storage` event tells of these jobs. */
  concerns(event: StorageEvent): boolean {
    return event.storageArea === this.storage && (event.key === this.key || event.key === null);
  }

  private write(entries: readonly Entry[]): void {
    const bare = entries.map(({ id, token, addedAt }) => ({ id, token, addedAt }));
    for (const kept of [entries, bare]) {
      try {
        this.storage.setItem(this.key, JSON.stringify(kept));
        return;
      } catch {
        // No room: the tokens matter more than what was last known.
      }
    }
  }
}

/** Why a job cannot be shown. */
export type Gone = "not_found" | "expired";

const GONE_KEY = "subtide.gone.1";
const GONE_KEPT = 100;

/** Why jobs are no more, for as long as the tab is open: a reload says the same. */
export class GoneStore {
  constructor(private readonly storage: Storage) {}

  all(): Map<string, Gone> {
    try {
      const found: unknown = JSON.parse(this.storage.getItem(GONE_KEY) ?? "[]");
      return new Map(Array.isArray(found) ? found.filter(isGone) : []);
    } catch {
      return new Map();
    }
  }

  keep(gone: ReadonlyMap<string, Gone>): void {
    try {
      this.storage.setItem(GONE_KEY, JSON.stringify([...gone].slice(-GONE_KEPT)));
    } catch {
      // No room: after a reload a job is but not found.
    }
  }
}

function isGone(found: unknown): found is [string, Gone] {
  if (!Array.isArray(found) || found.length !== 2) return false;
  const [id, why] = found as unknown[];
  return typeof id === "string" && (why === "not_found" || why === "expired");
}

function isEntry(found: unknown): found is Entry {
  const entry = found as Partial<Entry> | null;
  return (
    typeof entry === "object" &&
    entry !== null &&
    typeof entry.id === "string" &&
    typeof entry.token === "string" &&
    typeof entry.addedAt === "number"
  );
}
