import { useEffect, useState } from "react";
import { Button } from "react-aria-components";
import type { Job } from "../../generated/messages";
import { api, clock, Problem } from "../api";
import { formatAge, formatClock, formatDate, formatDuration, formatNumber, formatPercent } from "../format";
import { Icon } from "../icons";
import { DownloadMenu } from "../job/downloads";
import { ShareDialog } from "../later/parts";
import { jobs } from "../session";
import type { Item } from "../state/jobs";
import { captionsOf, isOver } from "../state/merge";
import { strings } from "../strings";
import { Confirm } from "./confirm";

const text = strings.jobs;
const AGE_TICK_MS = 20_000;

export function Card({ item, onView }: { item: Item; onView: (id: string) => void }) {
  const { id, known } = item;
  const job = known?.job;
  const name = job?.filename ?? text.unknown;
  const caption = known && !isOver(known.job) ? captionsOf(known).at(-1)?.text.trim() : undefined;
  return (
    <li className={`card ${job?.status ?? "pending"}`} data-job={id}>
      <div className="card-head">
        <h3 title={name}>{name}</h3>
        {job && <Age job={job} />}
      </div>
      {job?.source_host && <p className="card-facts">{text.host(job.source_host)}</p>}
      {job ? <State job={job} caption={caption} /> : <div className="bone" />}
      {job && <Actions item={item} job={job} onView={onView} />}
    </li>
  );
}

function State({ job, caption }: { job: Job; caption: string | undefined }) {
  if (job.status === "completed") return <Done job={job} />;
  if (job.status === "failed") {
    return (
      <div className="card-why">
        <p className="bad">{job.error_message}</p>
        {job.error_hint && <p>{job.error_hint}</p>}
        {job.error_reference && <p className="reference">{text.reference(job.error_reference)}</p>}
      </div>
    );
  }
  if (job.status === "cancelled") return <p className="card-facts">{text.status.cancelled}</p>;
  return (
    <>
      <Progress job={job} />
      {caption && <p className="card-caption">{caption}</p>}
      <p className="safe">
        <Icon name="check" size={16} />
        {text.safe}
      </p>
    </>
  );
}

/** Bar, stage and what is left. */
export function Progress({ job }: { job: Job }) {
  const percent = formatPercent(job.progress / 100);
  const left = whatIsLeft(job);
  return (
    <div className="progress">
      <div
        className="bar"
        role="progressbar"
        aria-label={text.progress(job.filename)}
        aria-valuenow={Math.round(job.progress)}
        aria-valuemin={0}
        aria-valuemax={100}
        aria-valuetext={text.stage(job.progress_message, percent)}
      >
        <span style={{ transform: `scaleX(${job.progress / 100})` }} />
      </div>
      <p className="progress-facts">
        <span aria-live="polite">{job.progress_message || text.status[job.status]}</span>
        <span className="numbers">
          {percent}
          {left && ` · ${left}`}
        </span>
      </p>
    </div>
  );
}

function whatIsLeft(job: Job): string | null {
  if (job.status === "pending") {
    // The place in the queue is in the sentence of the stage.
    return job.starts_in_s !== null ? text.starts(formatDuration(job.starts_in_s)) : null;
  }
  return job.estimated_remaining_seconds !== null ? text.left(formatDuration(job.estimated_remaining_seconds)) : null;
}

function Done({ job }: { job: Job }) {
  const facts = [
    job.duration_s !== null && formatClock(job.duration_s),
    job.speakers ? text.facts.speakers(job.speakers) : null,
    job.words !== null && text.facts.words(formatNumber(job.words)),
  ].filter(Boolean);
  return (
    <>
      <p className="card-facts numbers">{facts.join(" · ")}</p>
      {job.cached && job.cached_at && <p className="cached">{text.cached(formatDate(job.cached_at))}</p>}
      {job.notes.map((note) => (
        <p key={note} className="note">
          {note}
        </p>
      ))}
    </>
  );
}

export function Age({ job }: { job: Job }) {
  const [now, setNow] = useState(() => clock.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(clock.now()), AGE_TICK_MS);
    return () => clearInterval(timer);
  }, []);
  const since = job.completed_at ?? job.created_at;
  return (
    <time className="age" dateTime={since} title={formatDate(since)}>
      {formatAge(since, Math.max(now, clock.now()))}
    </time>
  );
}

type Asking = "cancel" | "remove" | "share" | null;

function Actions({ item, job, onView }: { item: Item; job: Job; onView: (id: string) => void }) {
  const [asking, setAsking] = useState<Asking>(null);
  const [error, setError] = useState<string | null>(null);
  const { id, token } = item;
  const name = job.filename;
  const attempt = async (act: () => Promise<unknown>) => {
    setError(null);
    try {
      await act();
    } catch (problem) {
      setError(problem instanceof Problem ? problem.message : String(problem));
    }
  };
  const over = isOver(job);
  const completed = job.status === "completed";
  const closed = () => setAsking(null);
  return (
    <div className="card-actions">
      {(completed || !over) && (
        <Button
          className={completed ? "button small primary" : "button small"}
          aria-label={completed ? text.viewOf(name) : text.watchOf(name)}
          onPress={() => onView(id)}
        >
          {completed ? text.view : text.watch}
        </Button>
      )}
      {completed && <DownloadMenu job={job} token={token} onError={setError} />}
      {completed && (
        <Button className="button small round" aria-label={text.shareOf(name)} onPress={() => setAsking("share")}>
          <Icon name="share" size={18} />
        </Button>
      )}
      {over && !completed && (
        <Button
          className="button small"
          aria-label={text.retryOf(name)}
          onPress={() => void attempt(() => retry(item))}
        >
          <Icon name="retry" size={18} />
          {text.retry}
        </Button>
      )}
      {over ? (
        <Button
          className="button small quiet round end"
          aria-label={text.removeOf(name)}
          onPress={() => setAsking("remove")}
        >
          <Icon name="trash" size={18} />
        </Button>
      ) : (
        <Button className="button small quiet end" aria-label={text.cancelOf(name)} onPress={() => setAsking("cancel")}>
          {text.cancel}
        </Button>
      )}
      {error && (
        <p className="card-error" role="alert">
          {error}
        </p>
      )}
      <Confirm
        open={asking === "cancel"}
        onClose={closed}
        title={strings.cancelling.title}
        text={strings.cancelling.text(name)}
        yes={strings.cancelling.yes}
        no={strings.cancelling.no}
        act={() => void attempt(() => cancel(item))}
      />
      <Confirm
        open={asking === "remove"}
        onClose={closed}
        title={strings.removing.title}
        text={strings.removing.text(name)}
        yes={strings.removing.yes}
        no={strings.removing.no}
        act={() => void attempt(() => remove(item))}
        other={{ label: strings.removing.hide, act: () => jobs.forget(id) }}
      />
      {asking === "share" && <ShareDialog job={job} token={token} onClose={closed} />}
    </div>
  );
}

export async function retry({ id, token }: Item): Promise<void> {
  await api.retry(id, token);
  jobs.follow(id);
}

export async function cancel({ id, token }: Item): Promise<void> {
  await api.cancel(id, token);
  jobs.follow(id);
}

export async function remove({ id, token }: Item): Promise<void> {
  try {
    await api.remove(id, token);
  } catch (error) {
    if (!(error instanceof Problem && (error.status === 404 || error.status === 410))) throw error;
  }
  jobs.forget(id);
}
