/**
 * All jobs that this browser knows, alive: what was last known at once, then what the server says.
 *
 * Jobs of one's own are kept in `localStorage`; those that a link opened only for this tab.
 */
import type { Job } from "../../generated/messages";
import type { JobPage } from "../api";
import { type Handlers, type ServerMessage, WATCHED_MAX } from "./connection";
import { afterFact, afterProgress, afterSnapshot, isOver, type Known, remembered } from "./merge";
import type { Entry, Gone, GoneStore, JobStore } from "./storage";

export interface Item {
  readonly id: string;
  readonly token: string;
  readonly mine: boolean;
  readonly addedAt: number;
  readonly known: Known | null;
}

export interface Watcher {
  watch(jobId: string, token: string): void;
  unwatch(jobId: string): void;
  isWatched(jobId: string): boolean;
}

/** The part of the API that is used. Rejects with something that has a `status`. */
export interface Api {
  query(tokens: readonly string[]): Promise<JobPage>;
  job(id: string, token: string): Promise<Job>;
}

export interface State {
  readonly items: readonly Item[];
  readonly connected: boolean;
  /** Whether the connection was lost and is not back. */
  readonly stale: boolean;
}

const ASKED_AT_ONCE = 100;
/** Jobs whose run is over that are watched all the same, so that there is always room for those that run. */
export const OVER_WATCHED = 50;

export class Jobs implements Handlers {
  private items = new Map<string, Item>();
  private readonly goneJobs: Map<string, Gone>;
  private readonly listeners = new Set<() => void>();
  /** Jobs whose captions have been heard from the start on, so that it can go on at the last fact. */
  private readonly replayed = new Set<string>();
  /** Watched jobs whose run is over, the one looked at last at the end. */
  private readonly over = new Set<string>();
  private readonly unsaved = new Set<string>();
  private state: State = { items: [], connected: false, stale: false };
  private connected = false;
  private stale = false;
  private watcher: Watcher | null = null;

  constructor(
    private readonly store: JobStore,
    private readonly visited: JobStore,
    private readonly goneStore: GoneStore,
    private readonly api: Api,
    private readonly now: () => number,
  ) {
    this.goneJobs = goneStore.all();
    this.reload();
  }

  /** Begin to listen. */
  start(watcher: Watcher): void {
    this.watcher = watcher;
    const running = [...this.items.values()].filter((item) => item.known === null || !isOver(item.known.job));
    for (const { id, token } of running.slice(0, WATCHED_MAX - 20)) watcher.watch(id, token);
    void this.check([...this.items.values()].filter((item) => !watcher.isWatched(item.id)));
  }

  subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  current = (): State => this.state;

  get(id: string): Item | undefined {
    return this.items.get(id);
  }

  gone(id: string): Gone | undefined {
    return this.goneJobs.get(id);
  }

  /** A job that was submitted here. */
  add(id: string, token: string): void {
    this.adopt(this.store, { id, token, addedAt: this.now() }, true);
  }

  /** A job that a link opened: watched, but not put among one's own. */
  visit(id: string, token: string): void {
    if (this.items.get(id)?.token === token) return;
    this.adopt(this.visited, { id, token, addedAt: this.now() }, false);
  }

  /** A job that a link opened turned out to be one's own. */
  own(id: string): void {
    const item = this.items.get(id);
    if (item === undefined || item.mine) return;
    this.visited.remove(id);
    this.store.add({ id, token: item.token, addedAt: item.addedAt });
    this.items.set(id, { ...item, mine: true });
    this.unsaved.add(id);
    this.publish();
  }

  /** See that a job is up to date, though its run is over. */
  follow(id: string): void {
    const item = this.items.get(id);
    if (item !== undefined && this.watcher?.isWatched(id) === false) this.watcher.watch(id, item.token);
  }

  forget(id: string): void {
    this.watcher?.unwatch(id);
    this.items.delete(id);
    this.replayed.delete(id);
    this.over.delete(id);
    this.store.remove(id);
    this.visited.remove(id);
    this.publish();
  }

  /** What another tab wrote. */
  reload(): void {
    const before = this.items;
    const entries = [
      ...this.store.all().map((entry) => ({ entry, mine: true })),
      ...this.visited.all().map((entry) => ({ entry, mine: false })),
    ];
    this.items = new Map();
    for (const { entry, mine } of entries) {
      if (this.items.has(entry.id) || this.goneJobs.has(entry.id)) continue;
      const known = before.get(entry.id)?.known ?? null;
      this.items.set(entry.id, itemOf(entry, mine, newer(known, entry)));
      if (!before.has(entry.id)) this.watcher?.watch(entry.id, entry.token);
    }
    for (const id of before.keys()) if (!this.items.has(id)) this.watcher?.unwatch(id);
    this.publish();
  }

  /** Write what is known to the storage. */
  save(): void {
    if (this.unsaved.size === 0) return;
    const known = new Map<string, Known>();
    for (const id of this.unsaved) {
      const item = this.items.get(id);
      if (item?.known) known.set(id, item.known);
    }
    this.unsaved.clear();
    this.store.update(known);
    this.visited.update(known);
  }

  since(jobId: string): number | null {
    const known = this.items.get(jobId)?.known;
    if (known && isOver(known.job)) return null;
    return this.replayed.has(jobId) ? (known?.seq ?? 0) : 0;
  }

  heard(message: ServerMessage): void {
    if (message.type === "pong") return;
    const id = message.job_id;
    const item = id ? this.items.get(id) : undefined;
    if (!id || item === undefined) return;
    switch (message.type) {
      case "snapshot":
        this.replayed.add(id);
        this.set(item, afterSnapshot(item.known ?? undefined, message));
        if (isOver(message.job)) this.isOver(id);
        else this.over.delete(id);
        break;
      case "fact":
        if (item.known === null) return;
        this.set(item, afterFact(item.known, message));
        if (message.fact === "completed") this.watcher?.watch(id, item.token); // anew, for what facts leave out
        break;
      case "progress":
        if (item.known !== null) this.set(item, afterProgress(item.known, message));
        break;
      case "error":
        if (message.code === "job_not_found") this.drop(id, "not_found");
        else if (message.code === "expired") this.drop(id, "expired");
    }
  }

  changed(connected: boolean): void {
    this.connected = connected;
    if (connected) this.stale = false;
    this.publish();
  }

  /** Whether what is shown may be old. The page says so only once it has lasted. */
  setStale(stale: boolean): void {
    if (stale === this.stale) return;
    this.stale = stale;
    this.publish();
  }

  /** The network is back: what nobody watches is asked for anew. The connection tells of the rest once it stands. */
  async back(): Promise<void> {
    const unwatched = [...this.items.values()].filter(({ id }) => this.watcher?.isWatched(id) !== true);
    const heard = await this.check(unwatched);
    if (heard && (this.connected || unwatched.length === this.items.size)) this.setStale(false);
  }

  /** Ask for jobs that nobody watches, since their run is over; those that are no more are dropped. Whether it was answered. */
  private async check(items: readonly Item[]): Promise<boolean> {
    let heard = true;
    for (let start = 0; start < items.length; start += ASKED_AT_ONCE) {
      const asked = items.slice(start, start + ASKED_AT_ONCE);
      let missing: readonly Item[] = asked;
      try {
        const { jobs } = await this.api.query(asked.map(({ token }) => token));
        const found = new Map(jobs.map((job) => [job.job_id, job as Job]));
        for (const { id } of asked) {
          const job = found.get(id);
          const item = this.items.get(id);
          if (job && item?.known) this.set(item, { ...item.known, job });
        }
        missing = asked.filter(({ id }) => !found.has(id));
      } catch {
        heard = false; // the last known state stays
        continue;
      }
      for (const { id, token } of missing) await this.confirm(id, token);
    }
    return heard;
  }

  private async confirm(id: string, token: string): Promise<void> {
    try {
      await this.api.job(id, token);
    } catch (error) {
      const status = (error as { status?: number }).status;
      if (status === 404) this.drop(id, "not_found");
      if (status === 410) this.drop(id, "expired");
    }
  }

  private adopt(store: JobStore, entry: Entry, mine: boolean): void {
    if (this.goneJobs.delete(entry.id)) this.goneStore.keep(this.goneJobs);
    store.add(entry);
    this.items = new Map([[entry.id, itemOf(entry, mine, null)], ...[...this.items].filter(([id]) => id !== entry.id)]);
    this.publish();
    this.watcher?.watch(entry.id, entry.token);
  }

  private isOver(id: string): void {
    this.over.delete(id);
    this.over.add(id);
    const [oldest] = this.over;
    if (this.over.size <= OVER_WATCHED || oldest === undefined) return;
    this.over.delete(oldest);
    this.watcher?.unwatch(oldest);
  }

  private drop(id: string, why: Gone): void {
    this.goneJobs.set(id, why);
    this.goneStore.keep(this.goneJobs);
    this.forget(id);
  }

  private set(item: Item, known: Known): void {
    if (known === item.known) return;
    this.items.set(item.id, { ...item, known });
    this.unsaved.add(item.id);
    this.publish();
  }

  private publish(): void {
    // With nothing to show there is nothing that may be old.
    const stale = this.stale && this.items.size > 0;
    this.state = { items: [...this.items.values()], connected: this.connected, stale };
    for (const listener of this.listeners) listener();
  }
}

function itemOf({ id, token, addedAt }: Entry, mine: boolean, known: Known | null): Item {
  return { id, token, addedAt, mine, known };
}

/** Of what this tab knows and what was written, the newer. */
function newer(known: Known | null, { job, seq }: Entry): Known | null {
  if (job === undefined || seq === undefined) return known;
  return known !== null && known.seq >= seq ? known : remembered(job, seq);
}
