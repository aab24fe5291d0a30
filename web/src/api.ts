/** The gateway's REST API. Every failure is a Problem: the sentence of the server's, or one of ours where none came. */
import type { components } from "../generated/api";
import type { Job, Segment, Turn } from "../generated/messages";
import type { Correction } from "./job/edits";
import { Clock } from "./state/clock";
import { strings } from "./strings";

export type Capacity = components["schemas"]["Capacity"];
export type Accepted = components["schemas"]["Accepted"];
export type JobPage = components["schemas"]["JobPage"];
export type Minted = components["schemas"]["Minted"];
export type ShareInfo = components["schemas"]["ShareInfo"];
export type Playable = components["schemas"]["Playable"];
export type Peaks = components["schemas"]["Peaks"];
export type Version = components["schemas"]["Version"];
export type Parameters = components["schemas"]["Parameters"];
export type PresetName = Parameters["caption_preset"];
export type Quality = components["schemas"]["Quality"];
export type PresetQuality = components["schemas"]["PresetQuality"];
type NotificationKey = components["schemas"]["NotificationKey"];
type Document = components["schemas"]["ProblemDocument"];

/** What the JSON format holds, as far as the page reads it. */
export interface Result {
  language: string | null;
  duration: number;
  segments: Segment[];
  speakers: string[];
  turns: Turn[];
}

export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    detail: string,
    readonly retryAfterS: number | null = null,
    /** The latest version of the transcript, where another was to be corrected. */
    readonly version: number | null = null,
  ) {
    super(detail);
  }

  /** Whether the same may work in a while. */
  get passing(): boolean {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

export const clock = new Clock();

const NO_ANSWER_MS = 20_000;

async function asked(path: string, token: string | null, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  if (token !== null) headers.set("Authorization", `Bearer ${token}`);
  let answer: Response;
  try {
    answer = await fetch(path, { ...init, headers, signal: init.signal ?? AbortSignal.timeout(NO_ANSWER_MS) });
  } catch {
    throw new Problem(0, "unreachable", strings.errors.unreachable);
  }
  clock.heard(answer.headers.get("date"));
  if (!answer.ok) throw await problem(answer);
  return answer;
}

async function problem(answer: Response): Promise<Problem> {
  const wait = Number.parseInt(answer.headers.get("retry-after") ?? "", 10);
  const document = (await answer.json().catch(() => ({}))) as Partial<Document>;
  const detail = document.detail ?? strings.errors.unexpected(answer.status);
  const retryAfterS = Number.isNaN(wait) ? null : wait;
  return new Problem(answer.status, document.code ?? "unknown", detail, retryAfterS, document.version ?? null);
}

const json = async <T>(path: string, token: string | null, init?: RequestInit): Promise<T> =>
  (await asked(path, token, init)).json() as Promise<T>;

const posted = (body: unknown, headers: Record<string, string> = {}): RequestInit => ({
  method: "POST",
  body: JSON.stringify(body),
  headers: { "Content-Type": "application/json", ...headers },
});

export const api = {
  capacity: () => json<Capacity>("/api/capacity", null),
  submit: (body: object, key: string) =>
    json<Accepted>("/api/jobs/submit", null, posted(body, { "Idempotency-Key": key })),
  query: (tokens: readonly string[]) =>
    json<JobPage>("/api/jobs/query", null, posted({ tokens, page: 1, per_page: 100 })),
  job: (id: string, token: string) => json<Job>(`/api/jobs/${id}`, token),
  result: (id: string, token: string, version: number) =>
    json<Result>(`/api/jobs/${id}/download/json?version=${version}`, token),
  versions: (id: string, token: string) => json<Version[]>(`/api/jobs/${id}/versions`, token),
  correct: (id: string, token: string, correction: Correction, key: string) =>
    json<Version>(`/api/jobs/${id}/versions`, token, posted(correction, { "Idempotency-Key": key })),
  cancel: (id: string, token: string) => json<Job>(`/api/jobs/${id}?running=true`, token, { method: "DELETE" }),
  remove: (id: string, token: string) => json<Job>(`/api/jobs/${id}?delete=true`, token, { method: "DELETE" }),
  retry: (id: string, token: string) => json<Job>(`/api/jobs/${id}/retry`, token, { method: "POST" }),
  shares: (id: string, token: string) => json<ShareInfo[]>(`/api/jobs/${id}/share`, token),
  share: (id: string, token: string) => json<Minted>(`/api/jobs/${id}/share`, token, { method: "POST" }),
  revoke: (id: string, token: string, share: number) =>
    asked(`/api/jobs/${id}/share/${share}`, token, { method: "DELETE" }).then(() => undefined),
  playable: (id: string, token: string) => json<Playable>(`/api/jobs/${id}/playable`, token, { method: "POST" }),
  peaks: (id: string, token: string) => json<Peaks>(`/api/jobs/${id}/peaks`, token),
  notificationKey: () => json<NotificationKey>("/api/notifications/key", null).then(({ public_key }) => public_key),
  notify: (id: string, token: string, subscription: PushSubscriptionJSON) =>
    asked(`/api/jobs/${id}/notifications`, token, {
      method: "PUT",
      body: JSON.stringify(subscription),
      headers: { "Content-Type": "application/json" },
    }).then(() => undefined),
  quality: (id: string, token: string, version: number) =>
    json<Quality>(`/api/jobs/${id}/quality?version=${version}`, token),
  captions: (id: string, token: string, preset: PresetName, version: number) =>
    asked(`/api/jobs/${id}/download/vtt?preset=${preset}&version=${version}`, token).then((answer) => answer.text()),
  file: (id: string, token: string, format: string, preset: PresetName | null, version: number | null) => {
    const query = new URLSearchParams();
    if (preset !== null) query.set("preset", preset);
    if (version !== null) query.set("version", `${version}`);
    return asked(`/api/jobs/${id}/download/${format}?${query}`, token).then((answer) => answer.blob());
  },
};

/** Hands a format of a job to the browser as a file, without its token in any address. */
export async function save(
  job: Job,
  token: string,
  format: string,
  preset: PresetName | null = null,
  version: number | null = null,
): Promise<void> {
  const address = URL.createObjectURL(await api.file(job.job_id, token, format, preset, version));
  const link = document.createElement("a");
  link.href = address;
  link.download = `${job.filename.replace(/\.[^.]+$/, "") || job.filename}.${preset ? `${preset}.` : ""}${format}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}
