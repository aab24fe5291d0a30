import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useCallback, useEffect, useRef, useState } from "react";
import type { Job } from "../../generated/messages";
import { api, Problem, type Result } from "../api";
import { formatClock } from "../format";
import { Icon } from "../icons";
import { isTaken } from "../keys";
import { jobs } from "../session";
import type { Item } from "../state/jobs";
import { strings } from "../strings";
import { CaptionsButton, FullScreen, Rate, Sound } from "./controls";
import type { Playback } from "./playback";
import { Waveform } from "./waveform";

const text = strings.transcript;
const SKIPS: Record<string, number> = { ArrowLeft: -5, ArrowRight: 5, j: -10, l: 10 };

function useKeys(playback: Playback): void {
  useEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      if (isTaken(event)) return;
      const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
      const skip = SKIPS[key];
      if (key === "k" || key === " ") playback.toggle();
      else if (skip !== undefined) playback.skip(skip);
      else return;
      event.preventDefault();
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, [playback]);
}

interface PlayerProps {
  item: Item;
  job: Job;
  result: Result;
  /** Of the transcript, whose captions are shown. */
  version: number;
  playback: Playback;
}

export function Player({ item, job, result, version, playback }: PlayerProps) {
  const client = useQueryClient();
  const [playing, setPlaying] = useState(false);
  const [broken, setBroken] = useState<"unplayable" | "noMedia" | null>(null);
  const renewed = useRef(false);
  const [element, setElement] = useState<HTMLVideoElement | null>(null);
  const key = ["playable", item.id];
  const playable = useQuery({
    queryKey: key,
    queryFn: () => api.playable(item.id, item.token),
    staleTime: Number.POSITIVE_INFINITY,
  });
  useKeys(playback);
  const owned = !item.mine && playable.data?.owner === true; // opened by a link, and yet one's own
  useEffect(() => {
    if (owned) jobs.own(item.id);
  }, [owned, item.id]);

  const attach = useCallback(
    (found: HTMLVideoElement | null) => {
      setElement(found);
      playback.attach(found);
    },
    [playback],
  );

  /** The ticket may have ended, the file be gone, or the browser not know the format: only asking tells. */
  const failed = async () => {
    const address = playable.data?.url;
    const at = playback.at();
    const answer = address ? await fetch(address, { method: "HEAD" }).catch(() => null) : null;
    if (answer === null) return;
    if (answer.status === 404 && !renewed.current) {
      renewed.current = true;
      await client.refetchQueries({ queryKey: key });
      playback.seek(at);
    } else setBroken(answer.ok ? "unplayable" : "noMedia");
  };

  const gone = playable.error instanceof Problem && playable.error.status === 410;
  const why = broken ?? (gone ? "noMedia" : null);
  const duration = result.duration || job.duration_s || 0;
  const media = playable.data;
  const shown = media && why === null;
  return (
    <section className="box player" aria-label={text.player}>
      {shown && (
        // eslint-disable-next-line jsx-a11y/media-has-caption -- it has, as soon as there are any
        <video
          ref={attach}
          className={media.kind}
          src={media.url}
          preload="metadata"
          playsInline
          aria-label={job.filename}
          onClick={() => playback.toggle()}
          onPlay={() => setPlaying(true)}
          onPause={() => setPlaying(false)}
          onError={() => void failed()}
          onLoadedMetadata={() => {
            renewed.current = false;
          }}
        >
          {media.captions_url && (
            <track
              key={version}
              kind="captions"
              src={`${media.captions_url}&version=${version}`}
              srcLang={job.language ?? "en"}
              label={text.captions}
              default={media.kind === "video"}
            />
          )}
        </video>
      )}
      {why && <p className="soft unplayable">{text[why]}</p>}
      <Waveform item={item} result={result} duration={duration} playback={playback} />
      {shown && (
        <div className="controls">
          <Control icon="back5" label={text.back} act={() => playback.skip(-5)} />
          <button
            type="button"
            className="button primary round play"
            aria-label={playing ? text.pause : text.play}
            onClick={() => playback.toggle()}
          >
            <Icon name={playing ? "pause" : "play"} size={22} />
          </button>
          <Control icon="forward5" label={text.forward} act={() => playback.skip(5)} />
          <Clock playback={playback} duration={duration} />
          <span className="controls-end">
            <Sound element={element} />
            {media.kind === "video" && (
              <>
                {media.captions_url && <CaptionsButton element={element} version={version} />}
                <FullScreen element={element} />
              </>
            )}
            <Rate element={element} />
          </span>
        </div>
      )}
    </section>
  );
}

function Control({ icon, label, act }: { icon: "back5" | "forward5"; label: string; act: () => void }) {
  return (
    <button type="button" className="button quiet round" aria-label={label} title={label} onClick={act}>
      <Icon name={icon} />
    </button>
  );
}

function Clock({ playback, duration }: { playback: Playback; duration: number }) {
  const shown = useRef<HTMLSpanElement>(null);
  useEffect(
    () =>
      playback.listen((seconds) => {
        if (shown.current) shown.current.textContent = formatClock(seconds);
      }),
    [playback],
  );
  return (
    <span className="clock numbers">
      <span ref={shown}>{formatClock(playback.at())}</span>
      <span className="soft"> / {formatClock(duration)}</span>
    </span>
  );
}
