import { type ReactNode, useDeferredValue, useEffect, useMemo, useRef, useState } from "react";
import { Button } from "react-aria-components";
import type { Job } from "../../generated/messages";
import { save } from "../api";
import { copyText } from "../copy";
import { formatClock, formatDate, formatLanguage, formatNumber } from "../format";
import { Icon } from "../icons";
import { Waiting } from "../later/later";
import { Captions, ShareDialog } from "../later/parts";
import { Queries } from "../queries";
import type { Item } from "../state/jobs";
import { strings } from "../strings";
import "../styles/transcript.css";
import { type Corrections, type Loaded, useCorrections } from "./corrections";
import { formatsOf } from "./downloads";
import { EditBar } from "./editing";
import { corrected, countOf, renamedResult, withName, withWord } from "./edits";
import { hitsOf, type Paragraph, textOf } from "./paragraphs";
import { newPlayback, type Playback } from "./playback";
import { Player } from "./player";
import { Rows, type RowsHandle } from "./rows";
import { Speakers } from "./speakers";
import { Toolbar } from "./toolbar";
import { Looking, Versions } from "./versions";

const text = strings.transcript;

interface Props {
  item: Item;
  job: Job;
}

export default function TranscriptPage(props: Props) {
  return (
    <Queries>
      <Versioned {...props} />
    </Queries>
  );
}

function Versioned({ item, job }: Props) {
  const corrections = useCorrections(item, job);
  const { loading, latest } = corrections;
  if (loading.isPending) return <Waiting />;
  if (loading.isError) {
    return (
      <section className="plain">
        <h1>{strings.job.loadFailed}</h1>
        <p className="lead">{loading.error.message}</p>
        <Button className="button primary" onPress={() => void loading.refetch()}>
          {strings.errors.again}
        </Button>
        {(corrections.looking || latest > job.version) && (
          <Button className="button" onPress={corrections.giveUp}>
            {strings.versions.latest}
          </Button>
        )}
      </section>
    );
  }
  return <View item={item} job={job} loaded={loading.data} corrections={corrections} />;
}

function View({ item, job, loaded, corrections }: Props & { loaded: Loaded; corrections: Corrections }) {
  const { edits, change, busy } = corrections;
  const transcript = useMemo(() => corrected(loaded.transcript, edits), [loaded, edits]);
  const result = useMemo(() => renamedResult(loaded.result, edits), [loaded, edits]);
  const [wantsEdit, setWantsEdit] = useState(false);
  const mayEdit = item.mine && !corrections.looking && loaded.transcript.words.length > 0;
  const editing = mayEdit && wantsEdit;
  const [chosen, setChosen] = useState<ReadonlySet<string> | null>(null);
  const [query, setQuery] = useState("");
  const wanted = useDeferredValue(query);
  const [hit, setHit] = useState(0);
  const [following, setFollowing] = useState(true);
  const rows = useRef<RowsHandle>(null);
  const sought = useRef(false);
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
  /** The first time, the one that is shown already. */
  const fromHit = (step: 1 | -1) => {
    if (!hits.length) return;
    const next = sought.current ? current + step : current;
    sought.current = true;
    toHit(next);
    const word = transcript.words[hits[(next + hits.length) % hits.length]?.first ?? -1];
    if (word) playback.seek(word.start);
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

  const rename = (speaker: string, name: string) => {
    const next = withName(edits, loaded.result.speakers, speaker, name);
    if (next === edits) return;
    const now = renamedResult(loaded.result, next).speakers;
    setChosen(
      chosen &&
        new Set(now.filter((one) => chosen.has(one) || (chosen.has(speaker) && !result.speakers.includes(one)))),
    );
    change(next);
  };
  const versions = (
    <Versions
      item={item}
      job={job}
      latest={corrections.latest}
      shown={loaded.version}
      disabled={busy !== null || countOf(edits) > 0}
      onChoose={corrections.look}
    />
  );

  return (
    <article className="transcript">
      <Head item={item} job={job} versions={versions} />
      {corrections.looking && (
        <Looking
          shown={loaded.version}
          onLatest={() => corrections.look(corrections.latest)}
          onRestore={item.mine ? corrections.restore : null}
          busy={busy !== null}
        />
      )}
      <div className="columns">
        <aside className="side">
          <Player item={item} job={job} result={result} version={loaded.version} playback={playback} />
          <Speakers result={result} chosen={chosen} onChange={setChosen} onRename={mayEdit ? rename : null} />
          <Captions item={item} job={job} version={loaded.version} playback={playback} />
          <Take
            job={job}
            token={item.token}
            version={loaded.version}
            all={() => textOf(transcript, paragraphs)}
            playback={playback}
          />
        </aside>
        <section className="read" aria-label={text.title}>
          <div className="read-head">
            <Toolbar
              query={query}
              onQuery={(value) => {
                setQuery(value);
                setHit(0);
                sought.current = false;
                setFollowing(false);
              }}
              at={current + 1}
              of={hits.length}
              onHit={(step) => toHit(current + step)}
              onEnter={fromHit}
              doubtful={transcript.doubtful.length}
              onDoubtful={toDoubtful}
              following={following}
              onFollow={() => setFollowing(true)}
              editing={editing}
              onEdit={
                mayEdit
                  ? () => {
                      setWantsEdit(!editing);
                      setFollowing(false);
                    }
                  : null
              }
            />
            {(editing || countOf(edits) > 0) && (
              <EditBar edits={edits} onChange={change} onSave={corrections.save} busy={busy} />
            )}
            <p className="edit-said" aria-live="polite">
              {corrections.said}
            </p>
            {corrections.error && (
              <div className="notice bad" role="alert">
                <p>{corrections.conflict === null ? corrections.error.message : strings.corrections.conflict}</p>
                {corrections.conflict !== null && (
                  <Button className="button small" onPress={corrections.carry}>
                    {strings.corrections.carry(corrections.conflict)}
                  </Button>
                )}
              </div>
            )}
          </div>
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
              onWord={
                editing ? (word, said, more) => change(withWord(edits, loaded.transcript, word, said, more)) : null
              }
            />
          )}
        </section>
      </div>
    </article>
  );
}

function Head({ item, job, versions }: Props & { versions: ReactNode }) {
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
      <div className="head-actions">
        {versions}
        {item.mine && (
          <Button className="button" onPress={() => setSharing(true)}>
            <Icon name="share" size={18} />
            {strings.jobs.share}
          </Button>
        )}
      </div>
      {sharing && <ShareDialog job={job} token={item.token} onClose={() => setSharing(false)} />}
    </header>
  );
}

interface TakeProps {
  job: Job;
  token: string;
  version: number;
  all: () => string;
  playback: Playback;
}

function Take({ job, token, version, all, playback }: TakeProps) {
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
              void save(job, token, format, null, version).then(
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
