import { useQuery } from "@tanstack/react-query";
import { lazy, Suspense, useDeferredValue, useEffect, useMemo, useRef, useState } from "react";
import { Button } from "react-aria-components";
import type { Job } from "../../generated/messages";
import { api, type Result, save } from "../api";
import { Waiting } from "../app";
import { copyText } from "../copy";
import { formatClock, formatDate, formatLanguage, formatNumber } from "../format";
import { Icon } from "../icons";
import { Queries } from "../queries";
import type { Item } from "../state/jobs";
import { strings } from "../strings";
import "../styles/transcript.css";
import { formatsOf } from "./downloads";
import { hitsOf, type Paragraph, textOf, transcriptOf } from "./paragraphs";
import { newPlayback, type Playback } from "./playback";
import { Player } from "./player";
import { Rows, type RowsHandle } from "./rows";
import { Speakers } from "./speakers";
import { Toolbar } from "./toolbar";

const ShareDialog = lazy(() => import("../share/dialog"));
const text = strings.transcript;

interface Props {
  item: Item;
  job: Job;
}

export default function TranscriptPage(props: Props) {
  return (
    <Queries>
      <Loaded {...props} />
    </Queries>
  );
}

function Loaded({ item, job }: Props) {
  const result = useQuery({
    queryKey: ["result", job.job_id, job.run],
    queryFn: () => api.result(job.job_id, item.token),
    staleTime: Number.POSITIVE_INFINITY,
  });
  if (result.isPending) return <Waiting />;
  if (result.isError) {
    return (
      <section className="plain">
        <h1>{strings.job.loadFailed}</h1>
        <p className="lead">{result.error.message}</p>
        <Button className="button primary" onPress={() => void result.refetch()}>
          {strings.errors.again}
        </Button>
      </section>
    );
  }
  return <View item={item} job={job} result={result.data} />;
}

function View({ item, job, result }: Props & { result: Result }) {
  const transcript = useMemo(() => transcriptOf(result.segments), [result]);
  const [chosen, setChosen] = useState<ReadonlySet<string> | null>(null);
  const [query, setQuery] = useState("");
  const wanted = useDeferredValue(query);
  const [hit, setHit] = useState(0);
  const [following, setFollowing] = useState(true);
  const rows = useRef<RowsHandle>(null);
  const [playback] = useState(newPlayback);

  const paragraphs = useMemo(
    () => (chosen ? transcript.paragraphs.filter(({ speaker }) => chosen.has(speaker ?? "")) : transcript.paragraphs),
    [transcript, chosen],
  );
  const hits = useMemo(() => {
    const all = hitsOf(transcript.words, wanted);
    return chosen ? all.filter(({ first }) => paragraphs.some((one) => one.first <= first && first < one.end)) : all;
  }, [transcript, wanted, chosen, paragraphs]);
  const current = hits.length ? Math.min(hit, hits.length - 1) : -1;

  const show = (word: number) => {
    setFollowing(false);
    rows.current?.reveal(word);
  };
  const first = wanted.trim() ? hits[0]?.first : undefined;
  useEffect(() => {
    if (first !== undefined) rows.current?.reveal(first);
  }, [wanted, first]);
  const toHit = (n: number) => {
    if (!hits.length) return;
    const next = (n + hits.length) % hits.length;
    setHit(next);
    show(hits[next]?.first ?? 0);
  };
  const toDoubtful = (step: 1 | -1) => {
    const shown = transcript.doubtful.filter((word) => paragraphs.some((one) => one.first <= word && word < one.end));
    const at = rows.current?.marked ?? -1;
    const next = step > 0 ? shown.find((word) => word > at) : shown.findLast((word) => word < at);
    const word = next ?? (step > 0 ? shown[0] : shown.at(-1));
    if (word === undefined) return;
    setFollowing(false);
    rows.current?.mark(word);
    playback.seek(transcript.words[word]?.start ?? 0);
  };

  return (
    <article className="transcript">
      <Head item={item} job={job} />
      <div className="columns">
        <aside className="side">
          <Player item={item} job={job} result={result} playback={playback} />
          <Speakers result={result} chosen={chosen} onChange={setChosen} />
          <Take job={job} token={item.token} all={() => textOf(transcript, paragraphs)} playback={playback} />
        </aside>
        <section className="read" aria-label={text.title}>
          <Toolbar
            query={query}
            onQuery={(value) => {
              setQuery(value);
              setHit(0);
              setFollowing(false);
            }}
            at={current + 1}
            of={hits.length}
            onHit={(step) => toHit(current + step)}
            doubtful={transcript.doubtful.length}
            onDoubtful={toDoubtful}
            following={following}
            onFollow={() => setFollowing(true)}
          />
          {transcript.words.length === 0 ? (
            <p className="soft nothing">{text.empty}</p>
          ) : paragraphs.length === 0 ? (
            <p className="soft nothing">{text.filtered}</p>
          ) : (
            <Rows
              ref={rows}
              transcript={transcript}
              paragraphs={paragraphs as Paragraph[]}
              speakers={result.speakers}
              hits={hits}
              hit={hits[current] ?? null}
              playback={playback}
              following={following}
              onAway={() => setFollowing(false)}
            />
          )}
        </section>
      </div>
    </article>
  );
}

function Head({ item, job }: Props) {
  const [sharing, setSharing] = useState(false);
  const facts = [
    job.duration_s !== null && formatClock(job.duration_s),
    job.language && formatLanguage(job.language),
    job.words !== null && strings.jobs.facts.words(formatNumber(job.words)),
    formatDate(job.completed_at ?? job.created_at),
  ].filter(Boolean);
  return (
    <header className="job-head">
      <div>
        <h1>{job.filename}</h1>
        <p className="soft">
          {!item.mine && <span className="badge">{strings.job.shared}</span>}
          {facts.join(" · ")}
        </p>
        {job.cached && job.cached_at && <p className="cached">{strings.jobs.cached(formatDate(job.cached_at))}</p>}
        {job.notes.map((note) => (
          <p key={note} className="note">
            {note}
          </p>
        ))}
      </div>
      {item.mine && (
        <Button className="button" onPress={() => setSharing(true)}>
          <Icon name="share" size={18} />
          {strings.jobs.share}
        </Button>
      )}
      {sharing && (
        <Suspense fallback={null}>
          <ShareDialog job={job} token={item.token} onClose={() => setSharing(false)} />
        </Suspense>
      )}
    </header>
  );
}

function Take({ job, token, all, playback }: { job: Job; token: string; all: () => string; playback: Playback }) {
  const [error, setError] = useState<string | null>(null);
  const [copied, setCopied] = useState(false);
  return (
    <section className="box take" aria-labelledby="take-title">
      <h2 id="take-title">{text.downloads}</h2>
      <div className="take-actions">
        {formatsOf(job).map((format) => (
          <Button
            key={format}
            className="button small"
            aria-label={`${strings.jobs.download} ${format.toUpperCase()}`}
            onPress={() =>
              void save(job, token, format).then(
                () => setError(null),
                (problem: Error) => setError(problem.message),
              )
            }
          >
            <Icon name="download" size={16} />
            {format.toUpperCase()}
          </Button>
        ))}
        <Button className="button small" onPress={() => void copyText(all()).then(setCopied)}>
          <Icon name={copied ? "check" : "copy"} size={16} />
          <span aria-live="polite">{copied ? text.copied : text.copy}</span>
        </Button>
        <Button className="button small" onPress={() => playback.print()}>
          <Icon name="print" size={16} />
          {text.print}
        </Button>
      </div>
      {error && (
        <p className="notice bad" role="alert">
          {error}
        </p>
      )}
      <details className="keys">
        <summary>{text.keys}</summary>
        <dl>
          {text.keysText.map(([keys, what]) => (
            <div key={keys}>
              <dt>{keys}</dt>
              <dd>{what}</dd>
            </div>
          ))}
        </dl>
      </details>
    </section>
  );
}
