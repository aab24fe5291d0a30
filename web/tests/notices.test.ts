import { beforeEach, describe, expect, it } from "vitest";
import type { Job } from "../generated/messages";
import { type Browser, Notices, type Permission } from "../src/notify/notices";
import { readTold, type Told } from "../src/notify/told";
import type { Item } from "../src/state/jobs";
import { remembered } from "../src/state/merge";
import { aJob } from "./examples";

const SUBSCRIPTION = { endpoint: "https://push.example.org/x" };

class Stage implements Browser {
  shown: Told[] = [];
  away = true;
  push = true;
  answer: Permission = "granted";
  now: Permission = "default";
  permission = () => this.now;
  ask = async () => (this.now = this.answer);
  subscribed = async () => (this.push ? SUBSCRIPTION : null);
  unsubscribed = 0;
  unsubscribe = async () => void this.unsubscribed++;
  hidden = () => this.away;
  show = (told: Told) => void this.shown.push(told);
}

class Kept implements Pick<Storage, "getItem" | "setItem"> {
  private readonly items = new Map<string, string>();
  getItem = (key: string) => this.items.get(key) ?? null;
  setItem = (key: string, value: string) => void this.items.set(key, value);
}

let stage: Stage;
let kept: Storage;
let told: [string, string][];
let isOn: boolean;

const made = () =>
  new Notices(kept, stage, {
    notificationKey: async () => {
      if (!isOn) throw Object.assign(new Error("off"), { status: 404 });
      return "key";
    },
    notify: async (id, token) => void told.push([id, token]),
  });
const item = (changes: Partial<Job>, mine = true): Item => {
  const job = aJob(changes);
  return { id: job.job_id, token: "t", mine, addedAt: 1, known: remembered(job, 1) };
};
const settled = () => new Promise((done) => setTimeout(done, 0));

beforeEach(() => {
  stage = new Stage();
  kept = new Kept() as unknown as Storage;
  told = [];
  isOn = true;
});

describe("the question", () => {
  it("comes with the first job that is completed before the user's eyes, and not before", () => {
    const notices = made();
    notices.see([item({ status: "processing" })]);
    expect(notices.current().asking).toBe(false);
    notices.see([item({ status: "completed" })]);
    expect(notices.current().asking).toBe(true);
  });

  it("does not come for what was over already, has failed, or is somebody else's", () => {
    const notices = made();
    notices.see([item({ status: "completed" })]);
    notices.see([item({ job_id: "j2" }), item({ job_id: "j3" }, false)]);
    notices.see([item({ job_id: "j2", status: "failed" }), item({ job_id: "j3", status: "completed" }, false)]);
    expect(notices.current().asking).toBe(false);
  });

  it("does not come again once it was answered with no", () => {
    const notices = made();
    notices.see([item({})]);
    notices.see([item({ status: "completed" })]);
    notices.decline();
    expect(notices.current().asking).toBe(false);
    const later = made();
    later.see([item({ job_id: "j2" })]);
    later.see([item({ job_id: "j2", status: "completed" })]);
    expect(later.current().asking).toBe(false);
  });

  it("is followed by a sentence where the browser says no", async () => {
    stage.answer = "denied";
    const notices = made();
    await notices.accept();
    expect(notices.current()).toMatchObject({ asking: false, refused: true, on: false });
    notices.decline();
    expect(notices.current().refused).toBe(false);
  });
});

describe("the end of a job", () => {
  it("is left to the push service, which hears of every job that runs, once a run", async () => {
    const notices = made();
    await notices.accept();
    notices.see([item({})]);
    notices.see([item({ progress: 20 })]);
    await settled();
    expect(told).toEqual([["j1", "t"]]);
    notices.see([item({ status: "completed" })]);
    await settled();
    expect(stage.shown).toEqual([]);
    notices.see([item({ run: 2 })]);
    await settled();
    expect(told).toHaveLength(2);
  });

  it.each([
    ["the browser has no push", () => (stage.push = false)],
    ["the server has no key", () => (isOn = false)],
  ])("is told by the page where %s", async (_, prepare) => {
    prepare();
    const notices = made();
    await notices.accept();
    notices.see([item({})]);
    await settled();
    notices.see([item({ status: "failed", filename: "talk.mp4" })]);
    await settled();
    expect(stage.shown).toEqual([{ job_id: "j1", filename: "talk.mp4", outcome: "failed" }]);
  });

  it("is not told to who looks at the page, or has said no", async () => {
    stage.push = false;
    stage.away = false;
    const notices = made();
    await notices.accept();
    notices.see([item({})]);
    await settled();
    notices.see([item({ status: "completed" })]);
    await settled();
    stage.away = true;
    notices.decline();
    notices.see([item({ job_id: "j2" })]);
    notices.see([item({ job_id: "j2", status: "completed" })]);
    await settled();
    expect(stage.shown).toEqual([]);
    expect(told).toEqual([]);
  });
});

describe("the switch", () => {
  it("turns notifications on after a no, and off again, for the push service too", async () => {
    const notices = made();
    notices.decline();
    expect(notices.current().on).toBe(false);
    await notices.accept();
    expect(notices.current()).toMatchObject({ on: true, permission: "granted" });
    expect(stage.unsubscribed).toBe(0);
    notices.decline();
    expect(notices.current().on).toBe(false);
    expect(stage.unsubscribed).toBe(1);
  });

  it("asks the push service anew for what still runs", async () => {
    const notices = made();
    await notices.accept();
    notices.see([item({})]);
    await settled();
    notices.decline();
    await notices.accept();
    notices.see([item({})]);
    await settled();
    expect(told).toHaveLength(2);
  });
});

describe("what a push says", () => {
  it("is read only where it is what it should be", () => {
    const right = { job_id: "j1", filename: "talk.mp4", outcome: "completed" };
    expect(readTold(JSON.stringify(right))).toEqual(right);
    for (const wrong of ["", "{", "null", "7", JSON.stringify({ ...right, job_id: "../x" })])
      expect(readTold(wrong)).toBeNull();
    expect(readTold(JSON.stringify({ ...right, outcome: "other" }))).toBeNull();
  });
});
