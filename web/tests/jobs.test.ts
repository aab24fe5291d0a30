import { beforeEach, describe, expect, it } from "vitest";
import { type Api, Jobs, OVER_WATCHED, type Watcher } from "../src/state/jobs";
import { captionsOf } from "../src/state/merge";
import { GoneStore, JobStore } from "../src/state/storage";
import { aFact, aJob, aProgress, aSnapshot, captioned, MemoryStorage } from "./examples";

class Watched implements Watcher {
  readonly asked: string[] = [];
  readonly now = new Set<string>();
  watch(id: string): void {
    this.asked.push(id);
    this.now.add(id);
  }
  unwatch(id: string): void {
    this.now.delete(id);
  }
  isWatched(id: string): boolean {
    return this.now.has(id);
  }
}

let storage: MemoryStorage;
/** What the tab alone keeps. */
let tab: MemoryStorage;
let watched: Watched;
let api: Api;
const jobs = () => new Jobs(new JobStore(storage), new JobStore(tab, "visited"), new GoneStore(tab), api, () => 5);
const settled = () => new Promise((done) => setTimeout(done));

beforeEach(() => {
  storage = new MemoryStorage();
  tab = new MemoryStorage();
  watched = new Watched();
  api = { query: async () => ({ jobs: [], total: 0, page: 1, per_page: 100 }), job: async () => aJob() };
});

describe("the jobs of this browser", () => {
  it("are shown as last known before the server says anything", () => {
    new JobStore(storage).add({ id: "j1", token: "t", addedAt: 1, job: aJob({ progress: 33 }), seq: 8 });
    expect(jobs().get("j1")?.known?.job.progress).toBe(33);
  });

  it("ask for all captions at first and for the rest later", () => {
    const all = jobs();
    all.start(watched);
    all.add("j1", "t");
    expect(all.since("j1")).toBe(0);
    all.heard(aSnapshot(1));
    all.heard(captioned(4, 0, "Hello."));
    expect(all.since("j1")).toBe(4);
    expect(captionsOf(all.get("j1")?.known as never)).toHaveLength(1);
  });

  it("are asked for anew once completed, for what facts leave out", () => {
    const all = jobs();
    all.start(watched);
    all.add("j1", "t");
    all.heard(aSnapshot(1));
    all.heard(aFact(9, "completed", { results: ["srt"], language: "en", duration_s: 1, speakers: 1, words: 1 }));
    expect(watched.asked).toEqual(["j1", "j1"]);
    expect(all.since("j1")).toBeNull();
  });

  it("are dropped silently where the server knows them no more", async () => {
    const done = aJob({ status: "completed" });
    new JobStore(storage).add({ id: "j1", token: "t", addedAt: 1, job: done, seq: 8 });
    api = { ...api, job: () => Promise.reject({ status: 404 }) };
    const all = jobs();
    all.start(watched);
    await settled();
    expect(all.current().items).toEqual([]);
    expect(new JobStore(storage).all()).toEqual([]);
  });

  it("stay as last known where the server does not answer", async () => {
    new JobStore(storage).add({ id: "j1", token: "t", addedAt: 1, job: aJob({ status: "completed" }), seq: 8 });
    api = { query: () => Promise.reject({ status: 0 }), job: () => Promise.reject({ status: 0 }) };
    const all = jobs();
    all.start(watched);
    await settled();
    expect(all.current().items).toHaveLength(1);
  });

  it("say why a job that was open is gone", () => {
    const all = jobs();
    all.start(watched);
    all.add("j1", "t");
    all.heard({ type: "error", code: "expired", message: "", job_id: "j1" });
    expect(all.get("j1")).toBeUndefined();
    expect(all.gone("j1")).toBe("expired");
  });

  it("are gone for the same reason after a reload, until a link opens them again", () => {
    const all = jobs();
    all.start(watched);
    all.add("j1", "t");
    all.heard({ type: "error", code: "expired", message: "", job_id: "j1" });
    expect(jobs().gone("j1")).toBe("expired");
    jobs().visit("j1", "shared");
    expect(jobs().gone("j1")).toBeUndefined();
  });

  it("are never old where there are none", () => {
    const all = jobs();
    all.start(watched);
    all.setStale(true);
    expect(all.current().stale).toBe(false);
    all.add("j1", "t");
    expect(all.current().stale).toBe(true);
  });

  it("are not old any more once the network is back and the server has answered", async () => {
    new JobStore(storage).add({ id: "j1", token: "t", addedAt: 1, job: aJob({ status: "completed" }), seq: 8 });
    const all = jobs();
    all.start(watched);
    await settled();
    all.setStale(true);
    api.query = () => Promise.reject({ status: 0 });
    await all.back();
    expect(all.current().stale).toBe(true);
    api.query = async () => ({ jobs: [aJob({ status: "completed" })] as never, total: 1, page: 1, per_page: 100 });
    await all.back();
    expect(all.current().stale).toBe(false);
  });

  it("that are watched wait for the connection", async () => {
    const all = jobs();
    all.start(watched);
    all.add("j1", "t");
    all.setStale(true);
    await all.back();
    expect(all.current().stale).toBe(true);
    all.changed(true);
    expect(all.current().stale).toBe(false);
  });

  it("appear and disappear with other tabs", () => {
    const [one, other] = [jobs(), jobs()];
    one.start(watched);
    other.add("j1", "t");
    one.reload();
    expect(one.get("j1")?.token).toBe("t");
    other.forget("j1");
    one.reload();
    expect(one.current().items).toEqual([]);
    expect(watched.now.size).toBe(0);
  });

  it("are written down, and read again after a reload", () => {
    const all = jobs();
    all.start(watched);
    all.add("j1", "t");
    all.heard(aSnapshot(3));
    all.heard(aProgress(3, { progress: 77 }));
    all.save();
    expect(jobs().get("j1")?.known).toMatchObject({ seq: 3, job: { progress: 77 } });
  });

  it("leave room for those that run, however many are looked at", () => {
    const all = jobs();
    all.start(watched);
    for (let n = 0; n <= OVER_WATCHED; n += 1) {
      all.add(`j${n}`, "t");
      all.heard(aSnapshot(1, { job_id: `j${n}`, status: "completed" }));
    }
    expect(watched.now.size).toBe(OVER_WATCHED);
    expect(watched.now.has("j0")).toBe(false);
  });

  it("of links are not put among one's own", () => {
    const all = jobs();
    all.visit("j1", "shared");
    expect(all.get("j1")?.mine).toBe(false);
    expect(new JobStore(storage).all()).toEqual([]);
  });
});
