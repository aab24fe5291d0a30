/** What is asked of the server with a file: what the form holds, what is wrong in it, and the parameters that it makes. */
import { MODEL_PATTERN } from "../../generated/limits";
import type { Parameters, PresetName } from "../api";
import { strings } from "../strings";

const text = strings.options;
const MODEL = new RegExp(MODEL_PATTERN);
export const SPEAKERS_MAX = 50;

/** Of it, what differs from the server's defaults becomes parameters. */
export interface Asked {
  language: string;
  force: boolean;
  task: "transcribe" | "translate";
  model: string;
  diarize: boolean;
  counting: "any" | "exact" | "range";
  exact: string;
  min: string;
  max: string;
  strict: boolean;
  prompt: string;
  hotwords: string;
  preset: PresetName;
}

export const NOTHING_ASKED: Asked = {
  language: "",
  force: false,
  task: "transcribe",
  model: "",
  diarize: true,
  counting: "any",
  exact: "2",
  min: "",
  max: "",
  strict: false,
  prompt: "",
  hotwords: "",
  preset: "standard",
};

export function parametersOf(asked: Asked): Partial<Parameters> {
  const found: Partial<Parameters> = {};
  if (asked.language) found.language = asked.language;
  if (asked.language && asked.force) found.force_language = true;
  if (asked.task !== "transcribe") found.task = asked.task;
  if (asked.model.trim()) found.model = asked.model.trim();
  if (asked.prompt.trim()) found.initial_prompt = asked.prompt.trim();
  if (asked.hotwords.trim()) found.hotwords = asked.hotwords.trim();
  if (asked.preset !== "standard") found.caption_preset = asked.preset;
  if (!asked.diarize) return { ...found, diarize: false };
  if (asked.strict) found.strict = true;
  const [exact, min, max] = [asked.exact, asked.min, asked.max].map(counted);
  if (asked.counting === "exact" && exact) found.num_speakers = exact;
  if (asked.counting === "range") {
    if (min) found.min_speakers = min;
    if (max) found.max_speakers = max;
  }
  return found;
}

export type Wrong = { [field in "model" | "exact" | "min" | "max"]?: string };

/** A sentence to each field that the server would refuse. */
export function wrongOf(asked: Asked): Wrong {
  const wrong: Wrong = {};
  if (asked.model.trim() && !MODEL.test(asked.model.trim())) wrong.model = text.modelWrong;
  if (!asked.diarize) return wrong;
  if (asked.counting === "exact" && counted(asked.exact) === null) wrong.exact = text.count(SPEAKERS_MAX);
  if (asked.counting === "range") {
    for (const bound of ["min", "max"] as const)
      if (asked[bound] !== "" && counted(asked[bound]) === null) wrong[bound] = text.count(SPEAKERS_MAX);
    if ((counted(asked.min) ?? 0) > (counted(asked.max) ?? SPEAKERS_MAX)) wrong.min = wrong.max = text.order;
  }
  return wrong;
}

function counted(value: string): number | null {
  const count = Number(value);
  return value !== "" && Number.isInteger(count) && count >= 1 && count <= SPEAKERS_MAX ? count : null;
}
