import { describe, expect, it } from "vitest";
import type { Segment } from "../generated/messages";
import { hitsOf, paragraphOf, talkTimes, textOf, transcriptOf, wordAt } from "../src/job/paragraphs";

let at = 0;
const segment = (speaker: string, text: string, probability = 0.9): Segment => {
  const words = text.split(" ").map((word) => ({ word: ` ${word}`, start: at++, end: at, probability, speaker }));
  return { id: 0, start: words[0]?.start ?? 0, end: at, text, speaker, words };
};
const transcript = () => {
  at = 0;
  return transcriptOf([
    segment("A", "Hello there."),
    segment("A", "How are you?"),
    segment("B", "Très bien, Zoë.", 0.1),
  ]);
};

describe("a transcript", () => {
  it("has a paragraph for each change of speaker", () => {
    expect(transcript().paragraphs.map(({ speaker, first, end }) => [speaker, first, end])).toEqual([
      ["A", 0, 5],
      ["B", 5, 8],
    ]);
  });

  it("begins a paragraph after a long pause", () => {
    at = 0;
    const first = segment("A", "One.");
    at = 10;
    expect(transcriptOf([first, segment("A", "Two.")]).paragraphs).toHaveLength(2);
  });

  it("loses no word of a very long speech", () => {
    at = 0;
    const { words, paragraphs } = transcriptOf([segment("A", Array(1000).fill("word").join(" "))]);
    expect(words).toHaveLength(1000);
    expect(paragraphs.at(-1)?.end).toBe(1000);
    expect(Math.max(...paragraphs.map(({ first, end }) => end - first))).toBeLessThanOrEqual(110);
  });

  it("takes a segment without words for one word", () => {
    expect(transcriptOf([{ id: 0, start: 0, end: 2, text: "Hello." }]).words).toHaveLength(1);
  });

  it("is empty where nobody speaks", () => {
    expect(transcriptOf([])).toEqual({ words: [], paragraphs: [], doubtful: [] });
  });

  it("knows the word at every time", () => {
    const { words } = transcript();
    expect([-1, 0, 3.5, 99].map((seconds) => wordAt(words, seconds))).toEqual([-1, 0, 3, 7]);
  });

  it("finds the paragraph of a word, unless it is filtered out", () => {
    const { paragraphs } = transcript();
    expect(paragraphOf(paragraphs, 6)).toBe(1);
    expect(paragraphOf(paragraphs.slice(1), 2)).toBe(-1);
  });

  it.each([
    ["how ARE", [{ first: 2, end: 4 }]],
    ["zoe", [{ first: 7, end: 8 }]],
    ["there. how", [{ first: 1, end: 3 }]],
    ["e", 7],
    ["  ", []],
    ["nowhere", []],
  ])("finds %s over words, cases and accents", (wanted, expected) => {
    const hits = hitsOf(transcript().words, wanted);
    if (typeof expected === "number") expect(hits).toHaveLength(expected);
    else expect(hits).toEqual(expected);
  });

  it("lists the doubtful words", () => {
    expect(transcript().doubtful).toEqual([5, 6, 7]);
  });

  it("adds up who talks for how long", () => {
    const turns = [
      { speaker: "B", start: 0, end: 2 },
      { speaker: "A", start: 1, end: 2 },
      { speaker: "B", start: 5, end: 6 },
    ];
    expect(talkTimes(["A", "B", "C"], turns)).toEqual([1, 3, 0]);
  });

  it("is copied with its speakers", () => {
    const all = transcript();
    expect(textOf(all, all.paragraphs)).toBe("A: Hello there. How are you?\n\nB: Très bien, Zoë.");
  });
});
