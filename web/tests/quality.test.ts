import { describe, expect, it } from "vitest";
import type { PresetQuality, Quality } from "../src/api";
import { sentencesOf, shareOf } from "../src/job/quality";

const preset: PresetQuality = {
  preset: "social",
  limits: { line_width: 28, lines: 1, read_per_s: 20, min_s: 0.834, max_s: 4, gap_s: 0, chain_s: 0.5, pause_s: 0.5 },
  captions: 340,
  words: 1200,
  words_dropped: 0,
  within_limits: 0.97,
  findings: [],
  broken: [],
};
const quality: Quality = {
  words: 1200,
  mean_probability: 0.916,
  doubtful_words: 12,
  doubtful_below: 0.4,
  attributed: 1,
  longest_silence_s: 12.3,
  longest_silence_at: 182,
  warnings: [],
  presets: [preset],
};

describe("the quality report", () => {
  it("says in sentences what there is to know", () => {
    expect(sentencesOf(quality, preset)).toEqual([
      "All 1,200 words are in the captions.",
      "97% of 340 captions keep every limit.",
      "The model was 92% sure of a word on average; 12 are doubtful.",
      "100% of the speech has a speaker.",
      "The longest silence is 12 sec, from 3:02.",
    ]);
  });

  it("says first that words are missing", () => {
    expect(sentencesOf(quality, { ...preset, words_dropped: 3 })[0]).toBe("3 words are missing from the captions.");
  });

  it("has one sentence where nobody speaks", () => {
    const silent = { ...quality, words: 0, mean_probability: null, attributed: null };
    expect(sentencesOf(silent, preset)).toEqual(["Nobody speaks in this recording."]);
  });

  it("leaves out what is not known", () => {
    expect(sentencesOf({ ...quality, attributed: null }, preset)).toHaveLength(4);
  });

  it("rounds a share neither to all nor to nothing", () => {
    expect([0, 0.0001, 0.01, 0.5, 0.99, 0.9999, 1].map(shareOf)).toEqual([
      "0%",
      "<1%",
      "1%",
      "50%",
      "99%",
      ">99%",
      "100%",
    ]);
  });
});
