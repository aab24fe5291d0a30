import { useMemo } from "react";
import { formatClock, formatPercent } from "../format";
import type { Result } from "../api";
import { strings } from "../strings";
import { talkTimes } from "./paragraphs";

const text = strings.transcript;
/** Colours that the style sheet knows. */
const COLOURS = 8;

export const colourOf = (speakers: readonly string[], speaker: string | null): string =>
  speaker === null || !speakers.includes(speaker) ? "of-none" : `of-${speakers.indexOf(speaker) % COLOURS}`;

interface SpeakersProps {
  result: Result;
  /** Whose words are shown; null: everybody's. */
  chosen: ReadonlySet<string> | null;
  onChange: (chosen: ReadonlySet<string> | null) => void;
}

/** Who talks for how long, and whose words are shown. */
export function Speakers({ result, chosen, onChange }: SpeakersProps) {
  const { speakers, turns } = result;
  const seconds = useMemo(() => talkTimes(speakers, turns), [speakers, turns]);
  if (speakers.length === 0) return null;
  const all = seconds.reduce((sum, one) => sum + one, 0) || 1;
  const most = Math.max(...seconds, 1);
  const toggle = (speaker: string) => {
    const next = new Set(chosen ?? speakers);
    if (!next.delete(speaker)) next.add(speaker);
    onChange(next.size === speakers.length ? null : next);
  };
  return (
    <section className="box speakers" aria-labelledby="speakers-title">
      <h2 id="speakers-title">{text.speakers}</h2>
      <ul>
        {speakers.map((speaker, n) => (
          <li key={speaker} className={colourOf(speakers, speaker)}>
            <label>
              <input
                type="checkbox"
                aria-label={text.show(speaker)}
                checked={chosen === null || chosen.has(speaker)}
                onChange={() => toggle(speaker)}
              />
              <span className="speaker-name">{speaker}</span>
              <span className="numbers soft">
                {text.talk(formatClock(seconds[n] ?? 0), formatPercent((seconds[n] ?? 0) / all))}
              </span>
            </label>
            <div className="talk" aria-hidden="true">
              <span style={{ transform: `scaleX(${(seconds[n] ?? 0) / most})` }} />
            </div>
          </li>
        ))}
      </ul>
    </section>
  );
}
