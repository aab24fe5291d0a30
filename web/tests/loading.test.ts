import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Loading } from "../src/later/loading";

let asked: number;
let isThere: boolean;
const part = () =>
  new Loading(async () => {
    asked += 1;
    if (!isThere) throw new Error("no network");
    return "part";
  });

beforeEach(() => {
  vi.useFakeTimers();
  asked = 0;
  isThere = true;
});
afterEach(() => void vi.useRealTimers());

describe("a part that is loaded later", () => {
  it("is asked for once, whoever needs it", async () => {
    const loading = part();
    expect(await Promise.all([loading.begin(), loading.begin()])).toEqual([true, true]);
    expect(await loading.begin()).toBe(true);
    expect(asked).toBe(1);
  });

  it("is asked for ahead of time but once, and says nothing", async () => {
    isThere = false;
    const loading = part();
    expect(await loading.begin()).toBe(false);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(asked).toBe(1);
    expect(loading.current().failed).toBe(false);
  });

  it("comes by itself for who waits, who is told meanwhile", async () => {
    isThere = false;
    const loading = part();
    loading.subscribe(() => undefined);
    await loading.begin();
    expect(loading.current().failed).toBe(false); // it may be a moment's
    await vi.advanceTimersByTimeAsync(400);
    expect(loading.current().failed).toBe(true);
    isThere = true;
    await vi.advanceTimersByTimeAsync(10_000);
    expect(loading.current()).toEqual({ value: "part", failed: false });
  });

  it("is asked for no more once nobody waits", async () => {
    isThere = false;
    const loading = part();
    const leave = loading.subscribe(() => undefined);
    await loading.begin();
    leave();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(asked).toBe(1);
  });
});
