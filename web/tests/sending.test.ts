import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { isOnItsWay, Uploads } from "../src/uploads/uploads";
import { Records } from "../src/uploads/records";
import { MemoryStorage } from "./examples";

const ADDRESS = "/api/uploads/u1?token=secret";
const FILE = new File(["123456789"], "talk.mp4", { lastModified: 5 });

interface Options {
  onUploadUrlAvailable: () => void;
  onProgress: (sent: number) => void;
  onSuccess: () => void;
  onError: (error: object) => void;
}

/** In place of tus-js-client: what a test says has happened has happened. */
class Line {
  static all: Line[] = [];
  url: string | null = null;
  aborted = false;
  constructor(
    _: File,
    readonly options: Options,
  ) {
    Line.all.push(this);
  }
  start() {}
  async abort() {
    this.aborted = true;
  }
  made() {
    this.url = ADDRESS;
    this.options.onUploadUrlAvailable();
  }
}
vi.mock("tus-js-client", () => ({
  get Upload() {
    return Line;
  },
}));

const line = () => Line.all.at(-1) as Line;
let storage: MemoryStorage;
let uploads: Uploads;
let asked: [string, RequestInit][];
let answers: Record<string, object | number>;
const only = () => uploads.current().items[0];
const progress = async (sent: number) => {
  await vi.advanceTimersByTimeAsync(1_000);
  line().options.onProgress(sent);
};
const settled = () => vi.advanceTimersByTimeAsync(0);

beforeEach(async () => {
  vi.useFakeTimers();
  Line.all = [];
  storage = new MemoryStorage();
  asked = [];
  answers = { "/api/capacity": { accepting: true, max_upload_bytes: 99 } };
  vi.stubGlobal("navigator", {});
  vi.stubGlobal("fetch", async (path: string, init: RequestInit = {}) => {
    asked.push([path, init]);
    const answer = answers[path] ?? {};
    return typeof answer === "number" ? new Response("{}", { status: answer }) : Response.json(answer);
  });
  uploads = new Uploads(new Records(storage), () => undefined);
  uploads.add(FILE, undefined, { model: "tiny" });
  await settled();
});
afterEach(() => {
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

describe("a file on its way", () => {
  it("is known to be as far as it was when it was paused, after a reload too", async () => {
    line().made();
    await progress(4);
    uploads.pause(only()?.record.key ?? "");
    expect(line().aborted).toBe(true);
    expect(only()).toMatchObject({ phase: "paused", sent: 4 });
    expect(new Records(storage).all()[0]).toMatchObject({ sent: 4, paused: true });
  });

  it("is not taken for whole before the server says so", async () => {
    line().made();
    await progress(9);
    uploads.pause(only()?.record.key ?? "");
    expect(new Records(storage).all()[0]?.sent).toBe(8);
  });

  it("is remembered every few seconds", async () => {
    line().made();
    await progress(2);
    expect(new Records(storage).all()[0]?.sent).toBe(0);
    await vi.advanceTimersByTimeAsync(2_000);
    await progress(5);
    expect(new Records(storage).all()[0]?.sent).toBe(5);
  });

  it("is ended with its token in a header, and in no address", () => {
    line().made();
    uploads.cancel(only()?.record.key ?? "");
    const [path, { method, headers }] = asked.at(-1) ?? ["", {}];
    expect([path, method]).toEqual(["/api/uploads/u1", "DELETE"]);
    expect(new Headers(headers).get("Authorization")).toBe("Bearer secret");
    expect(uploads.current().items).toEqual([]);
    expect(new Records(storage).all()).toEqual([]);
  });

  it("goes on by itself where it could not even begin", async () => {
    line().options.onError({});
    expect(only()?.phase).toBe("interrupted");
    await vi.advanceTimersByTimeAsync(1_000);
    expect(only()?.phase).toBe("uploading");
    expect(Line.all).toHaveLength(2);
  });

  it("is cut off where nothing gets through any more, and goes on from where it was", async () => {
    line().made();
    await progress(4);
    await vi.advanceTimersByTimeAsync(29_000);
    expect(line().aborted).toBe(false);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(Line.all[0]?.aborted).toBe(true);
    expect(only()?.phase).toBe("interrupted");
    await vi.advanceTimersByTimeAsync(1_000);
    expect(Line.all).toHaveLength(2);
  });

  it("is given the time it takes once all of it is sent", async () => {
    line().made();
    await progress(9);
    await vi.advanceTimersByTimeAsync(120_000);
    expect(line().aborted).toBe(false);
  });

  it("that was refused is sent again with what is asked now", async () => {
    answers["/api/jobs/submit"] = 400;
    line().made();
    line().options.onSuccess();
    await settled();
    expect(only()?.phase).toBe("failed");
    expect(isOnItsWay(only() as never)).toBe(false);
    uploads.resume(only()?.record.key ?? "", { model: "small" });
    const [path, { body }] = asked.at(-1) ?? ["", {}];
    expect(path).toBe("/api/jobs/submit");
    expect(JSON.parse(body as string)).toEqual({ upload_id: "u1", upload_token: "secret", model: "small" });
  });
});

describe("a busy server", () => {
  it("is asked until it is not, though nothing waits", async () => {
    const count = () => asked.filter(([path]) => path === "/api/capacity").length;
    answers["/api/capacity"] = { accepting: false };
    await uploads.askCapacity();
    expect(count()).toBe(1);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(count()).toBe(2);
    answers["/api/capacity"] = { accepting: true };
    await vi.advanceTimersByTimeAsync(10_000);
    expect(uploads.current().capacity?.accepting).toBe(true);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(count()).toBe(3);
  });
});
