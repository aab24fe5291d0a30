/** What is remembered of uploads over a reload, in `localStorage`, and what is told of one at a glance. */
import type { Parameters } from "../api";

export interface Record {
  /** Also the `Idempotency-Key` of creation and submit, so that a lost answer makes neither a second upload nor job. */
  readonly key: string;
  readonly name: string;
  readonly size: number;
  readonly lastModified: number;
  readonly parameters: Partial<Parameters>;
  /** Where the upload is, as the server said it: with the upload's own token, which is sent as a header. */
  readonly url: string | null;
  readonly sent: number;
  readonly paused: boolean;
}

const KEY = "subtide.uploads.1";

export class Records {
  constructor(private readonly storage: Storage) {}

  all(): Record[] {
    try {
      const found: unknown = JSON.parse(this.storage.getItem(KEY) ?? "[]");
      return Array.isArray(found) ? found.filter(isRecord) : [];
    } catch {
      return [];
    }
  }

  put(record: Record): void {
    const others = this.all();
    const known = others.some(({ key }) => key === record.key);
    this.write(known ? others.map((one) => (one.key === record.key ? record : one)) : [...others, record]);
  }

  remove(key: string): void {
    this.write(this.all().filter((one) => one.key !== key));
  }

  private write(records: readonly Record[]): void {
    try {
      this.storage.setItem(KEY, JSON.stringify(records));
    } catch {
      // No room: the upload goes on, and does not survive a reload.
    }
  }
}

function isRecord(found: unknown): found is Record {
  const record = found as Partial<Record> | null;
  return typeof record === "object" && typeof record?.key === "string" && typeof record.size === "number";
}

export function isSameFile(record: Record, file: Pick<File, "name" | "size" | "lastModified">): boolean {
  return file.name === record.name && file.size === record.size && file.lastModified === record.lastModified;
}

/** The address of an upload without its token. */
export const addressOf = (url: string): string => url.replace(/\?.*$/, "");

/** Id and token of an upload, from its address. */
export function opened(url: string): { upload_id: string; upload_token: string } {
  const parsed = new URL(url, "http://localhost");
  return {
    upload_id: parsed.pathname.split("/").pop() ?? "",
    upload_token: parsed.searchParams.get("token") ?? "",
  };
}

/** A random name that nobody guesses; `crypto.randomUUID` is missing where the page came without https. */
export function newKey(): string {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

const LOOKED_AT_MS = 5_000;

/** Bytes per second over the last seconds. */
export class Speed {
  private samples: { at: number; sent: number }[] = [];

  add(at: number, sent: number): void {
    this.samples = [...this.samples.filter((one) => at - one.at <= LOOKED_AT_MS), { at, sent }];
  }

  get bytesPerSecond(): number | null {
    const [first, last] = [this.samples[0], this.samples.at(-1)];
    if (!first || !last || last.at - first.at < 500) return null;
    return Math.max(0, ((last.sent - first.sent) * 1000) / (last.at - first.at));
  }
}
