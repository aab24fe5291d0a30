import { type KeyboardEvent, useMemo, useRef, useState } from "react";
import { formatClock, formatPercent } from "../format";
import type { Result } from "../api";
import { Icon } from "../icons";
import { strings } from "../strings";
import { NAME_MAX } from "./edits";
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
  /** Where names may be corrected. */
  onRename: ((speaker: string, name: string) => void) | null;
}

/** Who talks for how long, and whose words are shown. */
export function Speakers({ result, chosen, onChange, onRename }: SpeakersProps) {
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
          <li key={n} className={colourOf(speakers, speaker)}>
            {onRename && <Name speaker={speaker} onRename={(name) => onRename(speaker, name)} />}
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

/** A pencil, and once it is pressed a field: Enter keeps the name, Escape leaves it. */
function Name({ speaker, onRename }: { speaker: string; onRename: (name: string) => void }) {
  const [typing, setTyping] = useState(false);
  const pencil = useRef<HTMLButtonElement>(null);
  const closed = useRef(true);
  const close = (name: string | null) => {
    if (closed.current) return; // leaving the field follows from closing it
    closed.current = true;
    setTyping(false);
    if (name !== null) onRename(name);
  };
  const pressed = (event: KeyboardEvent<HTMLInputElement>) => {
    if (event.key !== "Enter" && event.key !== "Escape") return;
    event.preventDefault();
    close(event.key === "Enter" ? event.currentTarget.value : null);
    requestAnimationFrame(() => pencil.current?.focus());
  };
  if (typing) {
    return (
      <input
        className="name-field"
        // eslint-disable-next-line jsx-a11y/no-autofocus -- whoever presses the pencil wants to type
        autoFocus
        aria-label={strings.corrections.newName(speaker)}
        defaultValue={speaker}
        maxLength={NAME_MAX}
        onFocus={({ currentTarget }) => currentTarget.select()}
        onKeyDown={pressed}
        onBlur={({ currentTarget }) => close(currentTarget.value)}
      />
    );
  }
  return (
    <button
      ref={pencil}
      type="button"
      className="button small quiet round pencil"
      aria-label={strings.corrections.rename(speaker)}
      title={strings.corrections.rename(speaker)}
      onClick={() => {
        closed.current = false;
        setTyping(true);
      }}
    >
      <Icon name="pencil" size={16} />
    </button>
  );
}
