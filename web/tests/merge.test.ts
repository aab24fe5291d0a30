import { describe, expect, it } from "vitest";
import { afterFact, afterProgress, afterSnapshot, captionsOf, remembered } from "../src/state/merge";
import { aFact, aJob, aProgress, aSnapshot, captioned } from "./examples";

describe("merging what the websocket says", () => {
  it("takes the first snapshot as it is", () => {
    expect(afterSnapshot(undefined, aSnapshot(7)).seq).toBe(7);
  });

  it("does not go back to an older snapshot", () => {
    const known = remembered(aJob({ status: "completed", progress: 100 }), 20);
    expect(afterSnapshot(known, aSnapshot(3, { status: "processing" }))).toBe(known);
  });

  it("keeps the higher progress of two snapshots of one run", () => {
    const known = remembered(aJob({ progress: 60 }), 5);
    expect(afterSnapshot(known, aSnapshot(6, { progress: 40 })).job.progress).toBe(60);
  });

  it("takes the lower progress of a further run", () => {
    const known = remembered(aJob({ progress: 60 }), 5);
    expect(afterSnapshot(known, aSnapshot(6, { progress: 0, run: 2 })).job.progress).toBe(0);
  });

  it("never lets progress fall within a run", () => {
    const known = afterProgress(remembered(aJob({ progress: 30 }), 5), aProgress(5, { progress: 20 }));
    expect(known.job.progress).toBe(30);
  });

  it("ignores progress that is older than the last fact, and of another run", () => {
    const known = remembered(aJob({ progress: 30 }), 5);
    expect(afterProgress(known, aProgress(4, { progress: 80 }))).toBe(known);
    expect(afterProgress(known, aProgress(6, { progress: 80, run: 2 }))).toBe(known);
  });

  it("lets no progress revive a job that is over", () => {
    const known = remembered(aJob({ status: "cancelled" }), 5);
    expect(afterProgress(known, aProgress(6, { status: "processing" }))).toBe(known);
  });

  it("counts a fact that is said twice once", () => {
    const once = afterFact(remembered(aJob(), 1), captioned(8, 0, "Hello."));
    const twice = afterFact(once, captioned(8, 0, "Hello."));
    expect(captionsOf(twice).map(({ text }) => text)).toEqual(["Hello."]);
    expect(twice.seq).toBe(8);
  });

  it("orders captions by chunk however they come", () => {
    let known = remembered(aJob(), 1);
    for (const [seq, n, text] of [
      [9, 2, "c"],
      [7, 0, "a"],
      [8, 1, "b"],
    ] as const)
      known = afterFact(known, captioned(seq, n, text));
    expect(captionsOf(known).map(({ text }) => text)).toEqual(["a", "b", "c"]);
    expect(known.seq).toBe(9);
  });

  it("fills in captions of a replay without taking the state back", () => {
    const known = afterFact(remembered(aJob({ status: "completed", progress: 100 }), 30), captioned(8, 0, "Hello."));
    expect(known.job.status).toBe("completed");
    expect(known.seq).toBe(30);
    expect(captionsOf(known)).toHaveLength(1);
  });

  it("says what a completed job offers", () => {
    const data = { results: ["srt", "vtt"], language: "en", duration_s: 9, speakers: 2, words: 30, cached: true };
    const { job } = afterFact(remembered(aJob({ progress: 90 }), 5), aFact(6, "completed", data));
    expect(job).toMatchObject({ status: "completed", progress: 100, cached: true, words: 30 });
    expect(job.downloads.srt).toBe("/api/jobs/j1/download/srt");
  });

  it("has the latest version that is exported", () => {
    const exported = (n: number, failed?: string) => ({ n, words: 9, speakers: 1, results: ["srt"], failed });
    let known = remembered(aJob({ status: "completed", words: 8 }), 5);
    known = afterFact(known, aFact(6, "edited", { n: 1, based_on: 0 }));
    expect(known.job).toMatchObject({ version: 0, words: 8 });
    known = afterFact(known, aFact(8, "exported", exported(2)));
    known = afterFact(known, aFact(9, "exported", exported(1)));
    known = afterFact(known, aFact(10, "exported", exported(3, "internal")));
    expect(known.job).toMatchObject({ version: 2, words: 9, speakers: 1, status: "completed" });
  });

  it("says why a job failed", () => {
    const data = { code: "no_audio", message: "The file has no sound track.", hint: "Check.", reference: "abc" };
    const { job } = afterFact(remembered(aJob(), 5), aFact(6, "failed", data));
    expect(job).toMatchObject({
      status: "failed",
      error_code: "no_audio",
      error_message: data.message,
      error_hint: "Check.",
    });
  });

  it("begins anew when a job is retried", () => {
    let known = afterFact(
      remembered(aJob({ status: "failed", error_code: "internal", progress: 70 }), 5),
      captioned(6, 0, "old"),
    );
    known = afterFact(known, aFact(7, "accepted", {}, 2));
    expect(known.job).toMatchObject({ run: 2, status: "pending", progress: 0, error_code: null });
    expect(captionsOf(known)).toEqual([]);
    expect(afterFact(known, captioned(8, 1, "late word of the first run"))).toBe(known);
  });
});
