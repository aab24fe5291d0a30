import { describe, expect, it } from "vitest";
import { placeOf } from "../src/state/places";
import { GoneStore, JobStore } from "../src/state/storage";
import { aJob, MemoryStorage } from "./examples";

const entry = (id: string) => ({ id, token: `token-${id}`, addedAt: 1 });

describe("jobs in the browser's storage", () => {
  it("lists the newest first, each once", () => {
    const store = new JobStore(new MemoryStorage());
    for (const id of ["a", "b", "a"]) store.add(entry(id));
    expect(store.all().map(({ id }) => id)).toEqual(["a", "b"]);
  });

  it.each(["{", "null", "7", '{"version":9}', '[{"id":1}, null, "x"]'])("takes %s for nothing", (broken) => {
    const storage = new MemoryStorage();
    storage.setItem("subtide.jobs.1", broken);
    expect(new JobStore(storage).all()).toEqual([]);
  });

  it("does not bring back a job that another tab removed", () => {
    const storage = new MemoryStorage();
    const [one, other] = [new JobStore(storage), new JobStore(storage)];
    one.add(entry("a"));
    other.remove("a");
    one.update(new Map([["a", { job: aJob(), seq: 4 }]]));
    expect(other.all()).toEqual([]);
  });

  it("does not put an older state in place of what another tab wrote", () => {
    const store = new JobStore(new MemoryStorage());
    store.add({ ...entry("a"), job: aJob({ status: "completed" }), seq: 9 });
    store.update(new Map([["a", { job: aJob(), seq: 4 }]]));
    expect(store.all()[0]).toMatchObject({ seq: 9, job: { status: "completed" } });
  });

  it("keeps the tokens where there is no room for more", () => {
    const storage = new MemoryStorage();
    const store = new JobStore(storage);
    store.add(entry("a"));
    storage.full = true;
    store.update(new Map([["a", { job: aJob(), seq: 4 }]]));
    expect(store.all()).toEqual([entry("a")]);
  });
});

describe("why jobs are gone", () => {
  it.each(["{", "null", "[3, [1, 2]]", '[["j1", "otherwise"]]'])("is nothing where %s is stored", (broken) => {
    const storage = new MemoryStorage();
    storage.setItem("subtide.gone.1", broken);
    expect(new GoneStore(storage).all()).toEqual(new Map());
  });

  it("is kept of the last hundred", () => {
    const store = new GoneStore(new MemoryStorage());
    store.keep(new Map(Array.from({ length: 101 }, (_, n) => [`j${n}`, "expired"])));
    expect(store.all().size).toBe(100);
    expect(store.all().has("j0")).toBe(false);
  });
});

describe("a browser without storage", () => {
  const blocked = (): Storage => {
    throw new DOMException("blocked", "SecurityError");
  };

  it.each([
    ["it throws", blocked],
    ["it is null", () => null],
  ])("has the page's memory where %s", (_, found) => {
    const place = placeOf(found);
    place.setItem("key", "value");
    expect(place.getItem("key")).toBe("value");
  });

  it("has its own where it has one", () => {
    const storage = new MemoryStorage();
    expect(placeOf(() => storage)).toBe(storage);
  });
});
