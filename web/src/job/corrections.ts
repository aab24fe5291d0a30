import { keepPreviousData, useQuery, type UseQueryResult } from "@tanstack/react-query";
import { useRef, useState } from "react";
import type { Job } from "../../generated/messages";
import { api, Problem, type Result } from "../api";
import type { Item } from "../state/jobs";
import { strings } from "../strings";
import { newKey } from "../uploads/records";
import { type Correction, countOf, type Edits, NO_EDITS, rebased, requestOf } from "./edits";
import { type Transcript, transcriptOf } from "./paragraphs";

const text = strings.corrections;
const LOOKS_MAX = 300;
const LOOK_MS = 400;
/** How often a transcript that could not be loaded is asked for again. */
const AGAIN_MS = 10_000;

/** A version of the transcript as it is saved. */
export interface Loaded {
  readonly version: number;
  readonly result: Result;
  readonly transcript: Transcript;
}

/** What is done at the moment: nothing, or waiting for the server, for the subtitles, or for what somebody else made. */
type Phase = "idle" | "saving" | "making" | "carrying";

export interface Corrections {
  readonly loading: UseQueryResult<Loaded>;
  readonly latest: number;
  /** Whether it is an earlier version that is looked at. */
  readonly looking: boolean;
  readonly edits: Edits;
  readonly busy: string | null;
  /** What has just come of it. */
  readonly said: string;
  readonly error: Error | null;
  /** The version that somebody else has made meanwhile. */
  readonly conflict: number | null;
  change: (edits: Edits) => void;
  save: () => void;
  restore: () => void;
  /** Go on with the version of somebody else. */
  carry: () => void;
  look: (version: number) => void;
  /** Go back to what the job has, where a version cannot be shown. */
  giveUp: () => void;
}

/** The version that is shown, what was changed of it, and how that becomes the next one. */
export function useCorrections(item: Item, job: Job): Corrections {
  const [looked, setLooked] = useState<number | null>(null);
  const [saved, setSaved] = useState(0);
  const [base, setBase] = useState<Loaded | null>(null);
  const [edits, setEdits] = useState(NO_EDITS);
  const [phase, setPhase] = useState<Phase>("idle");
  const [coming, setComing] = useState("");
  const [said, setSaid] = useState("");
  const [error, setError] = useState<Error | null>(null);
  const attempt = useRef({ asked: "", key: "" });

  const latest = Math.max(job.version ?? 0, saved); // a job that was remembered of old has none
  const resting = phase === "idle" || phase === "saving";
  const held = resting && countOf(edits) > 0 ? base?.version : undefined;
  const version = looked ?? held ?? latest;
  const loading = useQuery({
    queryKey: ["result", job.job_id, job.run, version],
    queryFn: async ({ signal }): Promise<Loaded> => {
      if (version > (job.version ?? 0)) await isMade(job.job_id, item.token, version, signal);
      const result = await api.result(job.job_id, item.token, version);
      return { version, result, transcript: transcriptOf(result.segments) };
    },
    staleTime: Number.POSITIVE_INFINITY,
    placeholderData: keepPreviousData,
    retry: (count, problem) => count < 4 && navigator.onLine && isPassing(problem),
    refetchInterval: ({ state: { error: problem } }) => problem !== null && isPassing(problem) && AGAIN_MS,
  });

  const loaded = loading.data;
  if (loaded && loaded.version !== base?.version) {
    setBase(loaded);
    setPhase("idle");
    if (phase === "carrying" && base) {
      const { edits: moved, lost } = rebased(edits, base.transcript, loaded.transcript, loaded.result.speakers);
      setEdits(moved);
      setSaid(text.carried(loaded.version, lost));
    } else {
      setEdits(NO_EDITS);
      setSaid(phase === "making" ? coming : "");
    }
  }

  const send = async (correction: Correction, toSay: (version: number) => string) => {
    const asked = JSON.stringify(correction);
    if (attempt.current.asked !== asked) attempt.current = { asked, key: newKey() };
    setPhase("saving");
    setError(null);
    setSaid("");
    try {
      const made = await api.correct(item.id, item.token, correction, attempt.current.key);
      setComing(toSay(made.version));
      setSaved(made.version);
      setLooked(null);
      setPhase("making");
    } catch (problem) {
      setError(problem instanceof Error ? problem : new Error(String(problem)));
      setPhase("idle");
    }
  };
  const conflict = error instanceof Problem && error.code === "version_conflict" ? error.version : null;

  return {
    loading,
    latest,
    looking: looked !== null && looked !== latest,
    edits,
    busy: phase === "idle" ? null : phase === "saving" ? text.saving : text.making,
    said,
    error,
    conflict,
    change(next) {
      if (phase !== "idle" || next === edits) return;
      setEdits(next);
      setSaid("");
      setError(null);
    },
    save() {
      if (base && phase === "idle" && countOf(edits) > 0) void send(requestOf(edits, base.version), text.saved);
    },
    restore() {
      if (looked === null || phase !== "idle") return;
      const back = (made: number) => (looked === 0 ? text.restoredOriginal(made) : text.restored(made, looked));
      void send({ based_on: latest, restore: looked }, back);
    },
    carry() {
      if (conflict === null) return;
      setError(null);
      setSaved(conflict);
      setLooked(null);
      setPhase("carrying");
    },
    look(wanted) {
      if (phase !== "idle" || countOf(edits) > 0) return;
      setError(null);
      setLooked(wanted === latest ? null : wanted);
    },
    giveUp() {
      setSaved(0);
      setLooked(null);
      setPhase("idle");
    },
  };
}

/**
 * Waits until the subtitles of a version are there, or will not be. The list is asked, as the browser reports every
 * refusal on its console; what is wrong with the version, its result says.
 */
async function isMade(job: string, token: string, version: number, signal: AbortSignal): Promise<void> {
  for (let looks = 0; looks < LOOKS_MAX && !signal.aborted; looks++) {
    const made = (await api.versions(job, token)).find((one) => one.version === version);
    if (made === undefined || made.ready || made.error !== null) return;
    await new Promise((wake) => setTimeout(wake, LOOK_MS));
  }
}

const isPassing = (problem: Error): boolean => !(problem instanceof Problem) || problem.passing;
