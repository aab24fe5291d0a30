import { describe, expect, it } from "vitest";
import { begunBy, captionsOf, shownAt } from "../src/job/vtt";

const FILE = `WEBVTT

00:00:01.000 --> 00:00:02.500
<v Speaker 1>I came home so late,
and nobody was there.

00:00:02.500 --> 00:00:03.000
<v R&amp;D &lt;x&gt;>a&lt;b&gt;&amp;c--&gt;d

01:00:00.250 --> 01:00:07.250
&amp;lt; without a name
`;

describe("the captions of a file", () => {
  it("have their times, lines and speaker", () => {
    expect(captionsOf(FILE)).toEqual([
      { start: 1, end: 2.5, lines: ["I came home so late,", "and nobody was there."], speaker: "Speaker 1" },
      { start: 2.5, end: 3, lines: ["a<b>&c-->d"], speaker: "R&D <x>" },
      { start: 3600.25, end: 3607.25, lines: ["&lt; without a name"], speaker: null },
    ]);
  });

  it("are none where nothing is said", () => {
    expect(captionsOf("WEBVTT\n")).toEqual([]);
    expect(shownAt([], 3)).toBe(-1);
  });

  it("are shown from their start and up to their end", () => {
    const captions = captionsOf(FILE);
    expect([0.999, 1, 2.499, 2.5, 3, 3600.25, 4000].map((at) => shownAt(captions, at))).toEqual([
      -1, 0, 0, 1, -1, 2, -1,
    ]);
    expect([0, 1, 3, 3599, 4000].map((at) => begunBy(captions, at))).toEqual([-1, 0, 1, 1, 2]);
  });

  it("of three hours are found at once", () => {
    const many = Array.from({ length: 7000 }, (_, n) => ({
      start: n * 1.5,
      end: n * 1.5 + 1,
      lines: ["a"],
      speaker: null,
    }));
    expect(shownAt(many, 6999 * 1.5 + 0.5)).toBe(6999);
    expect(shownAt(many, 3000 * 1.5 + 1.2)).toBe(-1);
  });
});
