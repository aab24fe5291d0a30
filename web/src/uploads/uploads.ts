/**
 * Files on their way: each is uploaded resumably, submitted once, and then is a job.
 *
 * Whatever breaks, an upload goes on by itself: after a lost connection, after a reload, when a place is free.
 */
import { api, type Capacity, type Parameters, Problem } from "../api";
import { strings } from "../strings";
import { Busyness } from "./busyness";
import * as kept from "./kept";
import { isSameFile, newKey, opened, type Record, Records } from "./records";
import { ended, Sending } from "./sending";

export type Phase =
  | "queued" // behind other files of one's own
  | "busy" // no place for a further job: it goes on when there is one
  | "uploading"
  | "paused"
  | "interrupted" // the connection is lost: it goes on by itself
  | "needs_click" // the browser lets the page read the file only after a click
  | "needs_file" // the file has to be chosen again
  | "elsewhere" // another tab is at it
  | "submitting"
  | "failed";

export interface Item {
  readonly record: Record;
  readonly phase: Phase;
  readonly sent: number;
  readonly bytesPerSecond: number | null;
  readonly error: string | null;
}

export interface State {
  readonly items: readonly Item[];
  readonly capacity: Capacity | null;
}

/** Whether an upload gets further by itself. */
export const isOnItsWay = ({ phase }: Item): boolean => !RESTING.has(phase);
const RESTING: ReadonlySet<Phase> = new Set(["paused", "needs_click", "needs_file", "elsewhere", "failed"] as const);

interface Work {
  file: File | null;
  sending: Sending | null;
  release: (() => void) | null;
  timer: ReturnType<typeof setTimeout> | undefined;
  tries: number;
}

const AT_ONCE = 2;
const PAUSES_MS = [500, 1_000, 3_000, 5_000, 10_000];
/** How often the state is told while bytes go out. */
const TOLD_MS = 250;
/** How often it is remembered how far they are. */
const REMEMBERED_MS = 3_000;

export class Uploads {
  private items = new Map<string, Item>();
  private readonly work = new Map<string, Work>();
  private readonly listeners = new Set<() => void>();
  private state: State = { items: [], capacity: null };
  private readonly busyness = new Busyness(
    api.capacity,
    () => this.waits(),
    () => this.hasRoom(),
  );

  constructor(
    private readonly records: Records,
    private readonly submitted: (jobId: string, token: string, record: Record) => void,
  ) {}

  subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  current = (): State => this.state;

  /** Go on with what a reload interrupted. */
  start(): void {
    for (const record of this.records.all()) {
      this.put({ record, phase: "elsewhere", sent: record.sent, bytesPerSecond: null, error: null });
      void this.owned(record.key, () => this.restore(record.key, false));
    }
    addEventListener("online", () => this.retryNow());
    addEventListener("offline", () => {
      for (const { sending } of this.work.values()) sending?.cut();
    });
    addEventListener("pagehide", () => {
      for (const key of this.items.keys()) this.rememberSent(key);
    });
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.busyness.look());
    void this.askCapacity();
  }

  /** How busy the server is; while it takes nothing more, or a file waits for a place, again and again. */
  askCapacity(): Promise<void> {
    return this.busyness.ask();
  }

  add(file: File, handle: FileSystemFileHandle | undefined, parameters: Partial<Parameters>): void {
    const again = [...this.items.values()].find(
      ({ record, phase }) => isSameFile(record, file) && (phase === "needs_file" || phase === "needs_click"),
    );
    if (again) {
      void kept.keep(again.record.key, file, handle);
      this.begin(again.record.key, file);
      return;
    }
    const { name, size, lastModified } = file;
    const record = { key: newKey(), name, size, lastModified, parameters, url: null, sent: 0, paused: false };
    this.records.put(record);
    this.put({ record, phase: "queued", sent: 0, bytesPerSecond: null, error: null });
    void kept.keep(record.key, file, handle);
    void this.owned(record.key, () => this.begin(record.key, file));
  }

  /** The file of an upload that lost it. False where it is another one. */
  chosen(key: string, file: File): boolean {
    const item = this.items.get(key);
    if (!item || !isSameFile(item.record, file)) return false;
    void kept.keep(key, file, undefined);
    this.begin(key, file);
    return true;
  }

  /** After the click that a browser wants before a page may read a file again. */
  permit(key: string): void {
    void this.restore(key, true);
  }

  pause(key: string): void {
    this.change(key, { phase: "paused", bytesPerSecond: null });
    this.remember(key, { paused: true });
    this.rememberSent(key);
    this.stop(key);
    this.next();
  }

  /** Go on, after a pause or a refusal; where it was refused, perhaps with other parameters. */
  resume(key: string, parameters?: Partial<Parameters>): void {
    this.remember(key, { paused: false, ...(parameters && { parameters }) });
    this.change(key, { phase: "queued", error: null });
    const record = this.items.get(key)?.record;
    if (record?.url && record.sent >= record.size) void this.submit(key);
    else this.next();
  }

  cancel(key: string): void {
    const { url } = this.items.get(key)?.record ?? { url: null };
    this.stop(key);
    if (url) void ended(url).catch(() => undefined); // what is not ended now, the server gives up by itself
    this.done(key);
  }

  private stop(key: string): void {
    const work = this.work.get(key);
    work?.sending?.stop();
    if (work) work.sending = null;
  }

  private async restore(key: string, asked: boolean): Promise<void> {
    const record = this.records.all().find((one) => one.key === key);
    if (!record) {
      this.done(key); // another tab has finished it
      return;
    }
    if (!this.items.has(key)) return;
    this.change(key, { record, sent: record.sent });
    if (record.url !== null && record.sent >= record.size) {
      await this.submit(key);
      return;
    }
    const file = await kept.find(key, asked);
    if (file instanceof File && isSameFile(record, file)) this.begin(key, file);
    else this.change(key, { phase: file === "ask" ? "needs_click" : "needs_file" });
  }

  private begin(key: string, file: File): void {
    const item = this.items.get(key);
    if (!item) return;
    this.workOn(key).file = file;
    this.change(key, { phase: item.record.paused ? "paused" : "queued", error: null });
    this.next();
  }

  /** Start what may be started. */
  private next(): void {
    const all = [...this.items.values()];
    let free = AT_ONCE - all.filter(({ phase }) => phase === "uploading").length;
    for (const { record, phase } of all) {
      if (phase !== "queued" && phase !== "busy") continue;
      if (record.url !== null && record.sent >= record.size) continue; // waits for a place to be submitted
      if (this.work.get(record.key)?.file == null) continue;
      if (this.busyness.current?.accepting === false && record.url === null) {
        this.change(record.key, { phase: "busy" });
        continue;
      }
      if (free-- > 0) this.upload(record.key);
      else this.change(record.key, { phase: "queued" });
    }
    if (this.waits()) this.busyness.askSoon();
  }

  private upload(key: string): void {
    const work = this.workOn(key);
    const item = this.items.get(key);
    if (!item || !work.file) return;
    this.change(key, { phase: "uploading", error: null });
    const { size } = item.record;
    let told = Number.NEGATIVE_INFINITY;
    let remembered = performance.now();
    work.sending = new Sending(work.file, item.record, {
      made: (url) => this.remember(key, { url }),
      progress: (sent, bytesPerSecond) => {
        const now = performance.now();
        work.tries = 0;
        if (now - told < TOLD_MS && sent < size) return;
        told = now;
        this.change(key, { sent, bytesPerSecond });
        if (now - remembered < REMEMBERED_MS) return;
        remembered = now;
        this.rememberSent(key);
      },
      done: () => {
        work.sending = null;
        this.remember(key, { sent: size });
        this.change(key, { sent: size });
        void this.submit(key);
        this.next();
      },
      broken: (status, body) => {
        work.sending = null;
        this.broken(key, status, body);
      },
    });
  }

  private broken(key: string, status: number, body: string): void {
    const item = this.items.get(key);
    if (!item || item.phase === "paused") return;
    if (status === 404 || status === 410) {
      this.remember(key, { url: null, sent: 0 }); // the server has forgotten it: from the beginning
      this.change(key, { phase: "queued", sent: 0 });
      this.again(key);
      return;
    }
    const final = status >= 400 && status < 500 && ![408, 409, 423, 429, 460].includes(status);
    if (final) this.failed(key, sentence(body) ?? strings.errors.unexpected(status));
    else this.again(key);
    this.next();
  }

  private again(key: string): void {
    const work = this.workOn(key);
    const pause = PAUSES_MS[Math.min(work.tries, PAUSES_MS.length - 1)] ?? 0;
    work.tries += 1;
    this.change(key, { phase: "interrupted", bytesPerSecond: null });
    clearTimeout(work.timer);
    work.timer = setTimeout(() => this.goOn(key), pause);
  }

  private goOn(key: string): void {
    const item = this.items.get(key);
    if (item?.phase !== "interrupted") return;
    if (item.record.url !== null && item.record.sent >= item.record.size) void this.submit(key);
    else {
      this.change(key, { phase: "queued" });
      this.next();
    }
  }

  private retryNow(): void {
    for (const [key, { phase }] of this.items) if (phase === "interrupted") this.goOn(key);
    void this.askCapacity();
  }

  private async submit(key: string): Promise<void> {
    const item = this.items.get(key);
    if (!item?.record.url) return;
    this.change(key, { phase: "submitting", bytesPerSecond: null, error: null });
    try {
      const body = { ...opened(item.record.url), ...item.record.parameters };
      const accepted = await api.submit(body, key);
      this.done(key);
      this.submitted(accepted.job_id, accepted.access_token, item.record);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      if (error.code === "upload_not_found") this.broken(key, 404, "");
      else if (error.code === "queue_full") this.wait(key);
      else if (error.passing || error.status === 409) this.again(key);
      else this.failed(key, error.message);
    }
  }

  private wait(key: string): void {
    this.change(key, { phase: "busy" });
    void this.askCapacity();
  }

  private failed(key: string, error: string): void {
    this.change(key, { phase: "failed", error, bytesPerSecond: null });
  }

  private waits(): boolean {
    return [...this.items.values()].some(({ phase }) => phase === "busy");
  }

  private hasRoom(): void {
    this.publish();
    if (this.busyness.current?.accepting) {
      for (const { record, phase } of this.items.values())
        if (phase === "busy" && record.url !== null && record.sent >= record.size) void this.submit(record.key);
    }
    this.next();
  }

  private done(key: string): void {
    const work = this.work.get(key);
    clearTimeout(work?.timer);
    this.records.remove(key);
    void kept.drop(key);
    work?.release?.();
    this.work.delete(key);
    this.items.delete(key);
    this.publish();
    this.next();
  }

  /** Do something as the one tab that works on an upload; where another tab does, once that is closed. */
  private async owned(key: string, act: () => unknown): Promise<void> {
    if (!navigator.locks) {
      await act();
      return;
    }
    let begun = false;
    try {
      await navigator.locks.request(`subtide.upload.${key}`, async () => {
        begun = true;
        if (!this.items.has(key)) return;
        const held = new Promise<void>((release) => {
          this.workOn(key).release = release;
        });
        await act();
        await held;
      });
    } catch (error) {
      if (begun) throw error;
      await act(); // a browser that gives no storage gives no locks
    }
  }

  private workOn(key: string): Work {
    let work = this.work.get(key);
    if (!work) {
      work = { file: null, sending: null, release: null, timer: undefined, tries: 0 };
      this.work.set(key, work);
    }
    return work;
  }

  private remember(key: string, changes: Partial<Record>): void {
    const item = this.items.get(key);
    if (!item) return;
    const record = { ...item.record, ...changes };
    this.records.put(record);
    this.put({ ...item, record });
  }

  /** How far it is, without the last byte: only the server says that it has them all. */
  private rememberSent(key: string): void {
    const item = this.items.get(key);
    if (item && item.record.sent < item.record.size && item.sent > 0)
      this.remember(key, { sent: Math.min(item.sent, item.record.size - 1) });
  }

  private change(key: string, changes: Partial<Item>): void {
    const item = this.items.get(key);
    if (item) this.put({ ...item, ...changes });
  }

  private put(item: Item): void {
    this.items.set(item.record.key, item);
    this.publish();
  }

  private publish(): void {
    this.state = { items: [...this.items.values()], capacity: this.busyness.current };
    for (const listener of this.listeners) listener();
  }
}

function sentence(body: string): string | null {
  try {
    return (JSON.parse(body) as { detail?: string }).detail ?? null;
  } catch {
    return null;
  }
}
