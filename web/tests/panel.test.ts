import { beforeEach, describe, expect, it } from "vitest";
import { Opening } from "../src/panel/opening";
import { Endings } from "../src/state/endings";
import type { Item } from "../src/state/jobs";
import { remembered } from "../src/state/merge";
import type { Job } from "../generated/messages";
import { aJob } from "./examples";

let opening: Opening;
beforeEach(() => {
  opening = new Opening();
});

describe("the panel", () => {
  it("opens once for files that go together", () => {
    opening.sees(3);
    expect([opening.submitted(false), opening.submitted(false), opening.submitted(false)]).toEqual([
      true,
      false,
      false,
    ]);
  });

  it("opens again for the next ones", () => {
    for (let n = 0; n < 2; n += 1) {
      opening.sees(1);
      opening.sees(0);
      expect(opening.submitted(false)).toBe(true);
    }
  });

  it("does not open over a field that somebody types in, and does once he has done", () => {
    opening.sees(2);
    opening.types();
    expect(opening.submitted(true)).toBe(false);
    expect(opening.submitted(false)).toBe(true);
  });

  it("opens over a field that was filled before the files came", () => {
    opening.types();
    opening.sees(1);
    expect(opening.submitted(true)).toBe(true);
  });

  it("does not open after somebody has closed it", () => {
    opening.sees(2);
    opening.touched();
    opening.sees(1);
    expect(opening.submitted(false)).toBe(false);
  });
});

describe("the end of jobs", () => {
  const item = (changes: Partial<Job>, mine = true): Item => {
    const job = aJob(changes);
    return { id: job.job_id, token: "t", mine, addedAt: 1, known: remembered(job, 1) };
  };
  const names = (ended: Job[]) => ended.map(({ job_id }) => job_id);

  it("is news once a run, of those that were seen running and are one's own", () => {
    const endings = new Endings();
    const over = { status: "completed" } as const;
    expect(names(endings.of([item({}), item({ job_id: "j2", ...over }), item({ job_id: "j3" }, false)]))).toEqual([]);
    const after = [item(over), item({ job_id: "j2", ...over }), item({ job_id: "j3", ...over }, false)];
    expect(names(endings.of(after))).toEqual(["j1"]);
    expect(names(endings.of(after))).toEqual([]);
    endings.of([item({ run: 2 })]);
    expect(names(endings.of([item({ run: 2, status: "failed" })]))).toEqual(["j1"]);
  });
});
