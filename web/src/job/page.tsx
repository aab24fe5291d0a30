import { type ReactNode, useEffect, useRef, useState } from "react";
import { Button } from "react-aria-components";
import { Problem } from "../api";
import { focusContent } from "../focus";
import { Icon } from "../icons";
import { Waiting } from "../later/later";
import { Transcript } from "../later/parts";
import { Age, cancel, Progress, remove, retry } from "../panel/card";
import { Confirm } from "../panel/confirm";
import { Link, navigate } from "../route";
import { jobs, useJob } from "../session";
import type { Item } from "../state/jobs";
import { captionsOf, isOver, type Known } from "../state/merge";
import { strings } from "../strings";
import { formatClock } from "../format";
import "../styles/job.css";
import "../styles/panel.css";

const text = strings.job;

/** What there is to see of a job, whatever has become of it. */
export default function JobPage({ id }: { id: string }) {
  const item = useJob(id);
  const name = item?.known?.job.filename;
  useEffect(() => {
    document.title = name ? `${name} - ${strings.name}` : strings.name;
  }, [name]);
  useEffect(() => jobs.follow(id), [id]);
  const status = item?.known?.job.status;
  const before = useRef(status);
  useEffect(() => {
    if (before.current !== undefined && before.current !== status) focusContent(true); // what had it may be gone
    before.current = status;
  }, [status]);
  if (item === undefined) {
    const expired = jobs.gone(id) === "expired";
    return expired ? (
      <Notice title={text.expired} sentence={text.expiredText} />
    ) : (
      <Notice title={text.notFound} sentence={text.notFoundText} />
    );
  }
  if (item.known === null) return <Waiting />;
  if (status === "completed") {
    return <Transcript key={item.known.job.run} item={item} job={item.known.job} />;
  }
  if (isOver(item.known.job)) return <Unfinished item={item} known={item.known} />;
  return <Running item={item} known={item.known} />;
}

function Notice({ title, sentence, children }: { title: string; sentence: string | null; children?: ReactNode }) {
  return (
    <section className="plain">
      <span className="none-icon">
        <Icon name="captions" size={28} />
      </span>
      <h1>{title}</h1>
      {sentence && <p className="lead">{sentence}</p>}
      {children ?? (
        <Link className="button primary" href="/">
          {text.back}
        </Link>
      )}
    </section>
  );
}

function Unfinished({ item, known: { job } }: { item: Item; known: Known }) {
  const [error, setError] = useState<string | null>(null);
  const [asking, setAsking] = useState(false);
  const attempt = (act: () => Promise<unknown>) =>
    act().catch((problem) => setError(problem instanceof Problem ? problem.message : String(problem)));
  const failed = job.status === "failed";
  return (
    <Notice
      title={failed ? text.failed : text.cancelled}
      sentence={failed ? [job.error_message, job.error_hint].filter(Boolean).join(" ") : text.cancelledText}
    >
      <p className="soft">{job.filename}</p>
      {job.error_reference && <p className="reference">{strings.jobs.reference(job.error_reference)}</p>}
      {item.mine && (
        <div className="plain-actions">
          <Button className="button primary" onPress={() => void attempt(() => retry(item))}>
            <Icon name="retry" size={18} />
            {strings.jobs.retry}
          </Button>
          <Button className="button" onPress={() => setAsking(true)}>
            {strings.jobs.remove}
          </Button>
        </div>
      )}
      {error && (
        <p className="notice bad" role="alert">
          {error}
        </p>
      )}
      <Confirm
        open={asking}
        onClose={() => setAsking(false)}
        title={strings.removing.title}
        text={strings.removing.text(job.filename)}
        yes={strings.removing.yes}
        no={strings.removing.no}
        act={() => void attempt(() => remove(item).then(() => navigate("/")))}
      />
    </Notice>
  );
}

function Running({ item, known }: { item: Item; known: Known }) {
  const { job } = known;
  const [asking, setAsking] = useState(false);
  const [error, setError] = useState<string | null>(null);
  return (
    <article className="running">
      <header className="job-head">
        <div>
          <h1>{job.filename}</h1>
          <p className="soft">
            {strings.jobs.status[job.status]} · <Age job={job} />
          </p>
        </div>
        {item.mine && (
          <Button className="button" onPress={() => setAsking(true)}>
            {strings.jobs.cancel}
          </Button>
        )}
      </header>
      <section className="running-state">
        <Progress job={job} />
        {item.mine && (
          <p className="safe">
            <Icon name="check" size={16} />
            {strings.jobs.safe}
          </p>
        )}
        {error && (
          <p className="notice bad" role="alert">
            {error}
          </p>
        )}
      </section>
      <LiveCaptions known={known} />
      <Confirm
        open={asking}
        onClose={() => setAsking(false)}
        title={strings.cancelling.title}
        text={strings.cancelling.text(job.filename)}
        yes={strings.cancelling.yes}
        no={strings.cancelling.no}
        act={() => void cancel(item).catch((problem: Error) => setError(problem.message))}
      />
    </article>
  );
}

const NEAR_END_PX = 60;

function LiveCaptions({ known }: { known: Known }) {
  const captions = captionsOf(known);
  const box = useRef<HTMLDivElement>(null);
  const [behind, setBehind] = useState(false);
  const toEnd = () => box.current?.scrollTo({ top: box.current.scrollHeight });
  useEffect(() => {
    if (!behind) toEnd();
  }, [captions.length, behind]);
  return (
    <section className="live" aria-labelledby="live-title">
      <h2 id="live-title">
        <span className="live-dot" aria-hidden="true" />
        {text.live}
      </h2>
      <div
        // eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- what scrolls must be reachable by keyboard
        tabIndex={0}
        className="live-box"
        ref={box}
        role="log"
        aria-labelledby="live-title"
        onScroll={({ currentTarget: { scrollHeight, scrollTop, clientHeight } }) =>
          setBehind(scrollHeight - scrollTop - clientHeight > NEAR_END_PX)
        }
      >
        {captions.length === 0 ? (
          <p className="soft">{known.job.status === "pending" ? text.waitingQueue : text.waiting}</p>
        ) : (
          captions.map(({ start, text: line }) => (
            <p key={start} className="live-line">
              <span className="live-time">{formatClock(start)}</span>
              <span>{line.trim()}</span>
            </p>
          ))
        )}
      </div>
      {behind && (
        <Button className="button small live-jump" onPress={toEnd}>
          <Icon name="down" size={18} />
          {text.jump}
        </Button>
      )}
    </section>
  );
}
