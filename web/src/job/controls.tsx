/** What can be set at the player, besides where it is: sound, captions, screen, speed. The element itself knows how it stands. */
import { useEffect, useRef, useState } from "react";
import { Icon } from "../icons";
import { strings } from "../strings";

const text = strings.transcript;
const RATES = [0.5, 0.75, 1, 1.25, 1.5, 2];
/** Lines left free below a caption. */
const FREE_LINES = 1;

interface OfElement {
  element: HTMLVideoElement | null;
}

export function Sound({ element }: OfElement) {
  const [{ muted, volume }, setHeard] = useState({ muted: false, volume: 1 });
  useEffect(() => {
    if (!element) return;
    const changed = () => setHeard({ muted: element.muted, volume: element.volume });
    changed();
    element.addEventListener("volumechange", changed);
    return () => element.removeEventListener("volumechange", changed);
  }, [element]);
  const silent = muted || volume === 0;
  const toggle = () => hear(element, { muted: !silent, volume: volume || 1 });
  return (
    <span className="sound">
      <Set icon={silent ? "silent" : "sound"} label={text.mute} pressed={silent} act={toggle} />
      <input
        type="range"
        className="volume"
        min={0}
        max={1}
        step={0.05}
        value={silent ? 0 : volume}
        aria-label={text.volume}
        onChange={({ target }) => hear(element, { muted: false, volume: Number(target.value) })}
      />
    </span>
  );
}

export function CaptionsButton({ element, version }: OfElement & { version: number }) {
  const [on, setOn] = useState(true);
  useEffect(() => {
    if (!element) return;
    const show = () => showCaptions(element, on);
    show();
    const tracks = [...element.querySelectorAll("track")]; // of another version it is another
    for (const track of tracks) track.addEventListener("load", show);
    return () => {
      for (const track of tracks) track.removeEventListener("load", show);
    };
  }, [element, on, version]);
  return <Set icon="captions" label={text.captions} pressed={on} act={() => setOn(!on)} />;
}

/** They stand a bit above the edge, where they are cut off by nothing. Lines are counted from below. */
function showCaptions({ textTracks }: HTMLVideoElement, on: boolean): void {
  for (const track of textTracks) {
    track.mode = on ? "showing" : "hidden";
    for (const cue of track.cues ?? []) {
      const { text: said } = cue as VTTCue;
      (cue as VTTCue).line = -(said.split("\n").length + FREE_LINES);
    }
  }
}

type OfApple = HTMLVideoElement & { webkitEnterFullscreen?: () => void };

export function FullScreen({ element }: OfElement) {
  const enter = () => {
    if (!element) return;
    if ("requestFullscreen" in element) void element.requestFullscreen().catch(() => undefined);
    else (element as OfApple).webkitEnterFullscreen?.(); // an iPhone has but this
  };
  return <Set icon="full" label={text.fullScreen} act={enter} />;
}

/** Its options are numbers, so that letters go on to the player; chosen by a pointer, it keeps the space bar neither. */
export function Rate({ element }: OfElement) {
  const [rate, setRate] = useState(1);
  const pointed = useRef(false);
  useEffect(() => {
    hear(element, { playbackRate: rate });
  }, [element, rate]);
  return (
    <select
      className="rate"
      data-numbers
      aria-label={text.rate}
      value={rate}
      onPointerDown={() => (pointed.current = true)}
      onKeyDown={() => (pointed.current = false)}
      onChange={({ target }) => {
        setRate(Number(target.value));
        if (pointed.current) target.blur();
      }}
    >
      {RATES.map((one) => (
        <option key={one} value={one}>
          {one}×
        </option>
      ))}
    </select>
  );
}

function hear(element: HTMLVideoElement | null, how: Partial<HTMLVideoElement>): void {
  if (element) Object.assign(element, how);
}

interface SetProps {
  icon: "sound" | "silent" | "captions" | "full";
  label: string;
  pressed?: boolean;
  act: () => void;
}

function Set({ icon, label, pressed, act }: SetProps) {
  return (
    <button
      type="button"
      className="button small quiet round"
      aria-label={label}
      aria-pressed={pressed}
      title={label}
      onClick={act}
    >
      <Icon name={icon} size={18} />
    </button>
  );
}
