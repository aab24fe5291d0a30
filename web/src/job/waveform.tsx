import { useQuery } from "@tanstack/react-query";
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { api, type Peaks, type Result } from "../api";
import { formatClock } from "../format";
import type { Item } from "../state/jobs";
import { strings } from "../strings";
import type { Playback } from "./playback";
import { colourOf } from "./speakers";

const text = strings.transcript;
const BAR_PX = 2;
const GAP_PX = 1;

interface WaveformProps {
  item: Item;
  result: Result;
  duration: number;
  playback: Playback;
}

/** The outline of the sound in the colours of who speaks; a slider over it seeks. */
export function Waveform({ item, result, duration, playback }: WaveformProps) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const slider = useRef<HTMLInputElement>(null);
  const [drawn, setDrawn] = useState(0);
  const peaks = useQuery({
    queryKey: ["peaks", item.id],
    queryFn: () => api.peaks(item.id, item.token),
    staleTime: Number.POSITIVE_INFINITY,
    retry: 1,
  });
  const speakers = useMemo(() => speakersByTenth(result, duration), [result, duration]);

  const draw = useCallback(
    (seconds: number) => {
      const target = canvas.current;
      if (target && peaks.data) paint(target, peaks.data, speakers, result, duration, seconds);
    },
    [peaks.data, speakers, result, duration],
  );

  useEffect(() => {
    const told = (seconds: number) => {
      draw(seconds);
      if (!slider.current) return;
      slider.current.value = String(seconds);
      slider.current.setAttribute("aria-valuetext", text.positionText(formatClock(seconds), formatClock(duration)));
    };
    told(playback.at());
    return playback.listen(told);
  }, [draw, playback, duration]);

  useEffect(() => draw(playback.at()), [drawn, draw, playback]);
  useEffect(() => {
    const again = () => setDrawn((count) => count + 1);
    const sized = new ResizeObserver(again);
    if (canvas.current) sized.observe(canvas.current);
    const themed = new MutationObserver(again);
    themed.observe(document.documentElement, { attributeFilter: ["data-theme"] });
    const dark = matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", again);
    return () => {
      sized.disconnect();
      themed.disconnect();
      dark.removeEventListener("change", again);
    };
  }, []);

  return (
    <div className="waveform">
      <canvas ref={canvas} aria-hidden="true" />
      <input
        ref={slider}
        type="range"
        min={0}
        max={Math.max(duration, 1)}
        step={0.1}
        defaultValue={0}
        aria-label={text.position}
        onInput={({ currentTarget }) => playback.seek(Number(currentTarget.value))}
        onKeyDown={(event) => {
          if (event.key === " ") {
            event.preventDefault();
            playback.toggle();
          }
          if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
            event.preventDefault();
            playback.skip(event.key === "ArrowLeft" ? -5 : 5);
          }
        }}
      />
    </div>
  );
}

/** Who speaks in each tenth of a second: the number of the speaker, -1 for nobody. */
function speakersByTenth({ turns, speakers }: Result, duration: number): Int16Array {
  const found = new Int16Array(Math.ceil(duration * 10) + 1).fill(-1);
  for (const { start, end, speaker } of turns)
    found.fill(speakers.indexOf(speaker), Math.floor(start * 10), Math.ceil(end * 10));
  return found;
}

function paint(
  canvas: HTMLCanvasElement,
  peaks: Peaks,
  speakers: Int16Array,
  result: Result,
  duration: number,
  seconds: number,
): void {
  const { clientWidth: width, clientHeight: height } = canvas;
  const ratio = devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
  if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  if (!context || width === 0) return;
  const colours = coloursOf(canvas, result);
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  const bars = Math.floor(width / (BAR_PX + GAP_PX));
  const highest = peaks.data.reduce((most, value) => Math.max(most, Math.abs(value)), 1);
  const pixelS = peaks.samples_per_pixel / peaks.sample_rate;
  for (let bar = 0; bar < bars; bar += 1) {
    const [from, to] = [(bar / bars) * duration, ((bar + 1) / bars) * duration];
    let peak = 0;
    for (let pixel = Math.floor(from / pixelS); pixel <= Math.min(to / pixelS, peaks.length - 1); pixel += 1)
      peak = Math.max(peak, Math.abs(peaks.data[2 * pixel] ?? 0), Math.abs(peaks.data[2 * pixel + 1] ?? 0));
    const tall = Math.max(2, (peak / highest) * height);
    context.fillStyle = colours[(speakers[Math.floor(((from + to) / 2) * 10)] ?? -1) + 1] ?? colours[0] ?? "gray";
    context.globalAlpha = to <= seconds ? 1 : 0.42;
    context.fillRect(bar * (BAR_PX + GAP_PX), (height - tall) / 2, BAR_PX, tall);
  }
  context.globalAlpha = 1;
  context.fillStyle = getComputedStyle(canvas).color;
  context.fillRect(Math.min(width - 2, (seconds / Math.max(duration, 0.1)) * width), 0, 2, height);
}

const known = new Map<string, string[]>();

/** The style sheet's colours, nobody's first; asked once for each appearance. */
function coloursOf(canvas: HTMLCanvasElement, { speakers }: Result): string[] {
  const key = `${getComputedStyle(canvas).color} ${speakers.length}`;
  let colours = known.get(key);
  if (!colours) {
    colours = [null, ...speakers].map((speaker) => {
      const probe = document.createElement("span");
      probe.className = colourOf(speakers, speaker);
      probe.hidden = true;
      canvas.parentElement?.append(probe);
      const colour = getComputedStyle(probe).getPropertyValue("color");
      probe.remove();
      return colour;
    });
    known.set(key, colours);
  }
  return colours;
}
