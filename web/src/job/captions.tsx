import { useQuery } from "@tanstack/react-query";
import { type CSSProperties, useEffect, useId, useMemo, useState } from "react";
import { Button } from "react-aria-components";
import type { Job } from "../../generated/messages";
import { api, type PresetName, type PresetQuality, save } from "../api";
import { formatClock, formatNumber } from "../format";
import { Icon } from "../icons";
import type { Item } from "../state/jobs";
import { strings } from "../strings";
import "../styles/captions.css";
import type { Playback } from "./playback";
import { Report } from "./quality";
import { begunBy, type Caption, captionsOf, shownAt } from "./vtt";

const text = strings.captions;
const FORMATS = ["srt", "vtt"];

interface CaptionsProps {
  item: Item;
  job: Job;
  /** Of the transcript: the one that is looked at. */
  version: number;
  playback: Playback;
}

/** The captions as they will look in each preset, and how well they keep to it. Nothing is asked for until it is open. */
export default function Captions(props: CaptionsProps) {
  const [open, setOpen] = useState(false);
  return (
    <details className="box captions" onToggle={({ currentTarget }) => setOpen(currentTarget.open)}>
      <summary>
        <Icon name="right" size={18} />
        <h2>{text.title}</h2>
      </summary>
      {open && <Chosen {...props} />}
    </details>
  );
}

function Chosen({ item, job, version, playback }: CaptionsProps) {
  const [preset, setPreset] = useState<PresetName>(job.parameters.caption_preset ?? "standard");
  const [error, setError] = useState<string | null>(null);
  const id = useId();
  const file = useQuery({
    queryKey: ["captions", job.job_id, job.run, version, preset],
    queryFn: () => api.captions(job.job_id, item.token, preset, version),
  });
  const quality = useQuery({
    queryKey: ["captions", job.job_id, job.run, version, "quality"],
    queryFn: () => api.quality(job.job_id, item.token, version),
  });
  const captions = useMemo(() => (file.data === undefined ? null : captionsOf(file.data)), [file.data]);
  const report = quality.data?.presets.find((one) => one.preset === preset);
  const failed = file.error ?? quality.error;
  return (
    <div className="captions-body">
      <div className="field">
        <label htmlFor={id}>{text.preset}</label>
        <select
          id={id}
          aria-describedby={`${id}-limits`}
          value={preset}
          onChange={({ target }) => setPreset(target.value as PresetName)}
        >
          {(Object.keys(text.presets) as PresetName[]).map((name) => (
            <option key={name} value={name}>
              {text.presets[name]}
            </option>
          ))}
        </select>
        <p className="hint" id={`${id}-limits`}>
          {report ? limitsOf(report) : " "}
        </p>
      </div>
      {captions && (
        <Preview captions={captions} preset={preset} columns={report?.limits.line_width} playback={playback} />
      )}
      <div className="take-actions">
        {FORMATS.map((format) => (
          <Button
            key={format}
            className="button small"
            aria-label={text.downloadOf(format.toUpperCase(), text.presets[preset])}
            onPress={() =>
              void save(job, item.token, format, preset, version).then(
                () => setError(null),
                (problem: Error) => setError(problem.message),
              )
            }
          >
            <Icon name="download" size={16} />
            {format.toUpperCase()}
          </Button>
        ))}
      </div>
      {(failed || error) && (
        <p className="notice bad" role="alert">
          {error ?? failed?.message}
        </p>
      )}
      {quality.data && report && <Report quality={quality.data} of={report} playback={playback} />}
    </div>
  );
}

function limitsOf({ limits }: PresetQuality): string {
  return text.limits(
    limits.lines,
    limits.line_width,
    formatNumber(limits.read_per_s),
    formatNumber(Math.round(limits.min_s * 10) / 10),
    formatNumber(limits.max_s),
  );
}

interface PreviewProps {
  captions: readonly Caption[];
  preset: PresetName;
  columns: number | undefined;
  playback: Playback;
}

const STANDARD_COLUMNS = 42;

/** What is on the screen where the player is. Drawn anew only when another caption comes, or none. */
function Preview({ captions, preset, columns = STANDARD_COLUMNS, playback }: PreviewProps) {
  const [at, setAt] = useState(() => place(captions, playback.at()));
  useEffect(() => {
    const moved = (seconds: number) => {
      const next = place(captions, seconds);
      setAt((before) => (before.shown === next.shown && before.begun === next.begun ? before : next));
    };
    moved(playback.at());
    return playback.listen(moved);
  }, [captions, playback]);
  const shown = captions[at.shown];
  const previous = at.shown < 0 ? at.begun : at.begun - 1;
  const toStart = (n: number) => {
    const caption = captions[n];
    if (caption) playback.seek(caption.start);
  };
  return (
    <figure className="preview" aria-label={text.preview}>
      <div
        className={preset === "social" ? "screen portrait" : "screen"}
        style={{ "--columns": columns } as CSSProperties}
      >
        {shown && (
          <p>
            {shown.lines.map((line, n) => (
              <span key={n}>{line}</span>
            ))}
          </p>
        )}
      </div>
      <figcaption>
        <Button
          className="button small"
          aria-label={text.previous}
          isDisabled={previous < 0}
          onPress={() => toStart(previous)}
        >
          <Icon name="left" size={18} />
        </Button>
        <span className="numbers soft">
          {captions.length === 0
            ? text.none
            : shown
              ? text.at(formatNumber(at.shown + 1), formatNumber(captions.length), formatClock(shown.start))
              : text.between(formatNumber(captions.length))}
        </span>
        <Button
          className="button small"
          aria-label={text.next}
          isDisabled={at.begun >= captions.length - 1}
          onPress={() => toStart(at.begun + 1)}
        >
          <Icon name="right" size={18} />
        </Button>
      </figcaption>
    </figure>
  );
}

function place(captions: readonly Caption[], seconds: number): { shown: number; begun: number } {
  return { shown: shownAt(captions, seconds), begun: begunBy(captions, seconds) };
}
