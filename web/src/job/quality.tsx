import { useId } from "react";
import type { PresetQuality, Quality } from "../api";
import { formatClock, formatDuration, formatNumber, formatPercent } from "../format";
import { strings } from "../strings";
import type { Playback } from "./playback";

const text = strings.captions;
/** Rules whose limit is a least. */
const LEASTS: readonly string[] = ["too_short", "gap"];

interface ReportProps {
  quality: Quality;
  of: PresetQuality;
  playback: Playback;
}

/** How far the captions keep the limits, and which do not. */
export function Report({ quality, of, playback }: ReportProps) {
  const id = useId();
  const broken = of.findings.reduce((sum, { captions }) => sum + captions, 0);
  return (
    <section className="report" aria-labelledby={id}>
      <h3 id={id}>{text.report}</h3>
      <ul>
        {sentencesOf(quality, of).map((sentence) => (
          <li key={sentence}>{sentence}</li>
        ))}
      </ul>
      <table>
        <caption className="hidden">{text.table}</caption>
        <thead>
          <tr>
            {text.columns.map((name) => (
              <th key={name} scope="col">
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {of.findings.map(({ rule, limit, captions, share, worst }) => (
            <tr key={rule} className={captions ? "over" : undefined}>
              <th scope="row">{text.rules[rule]}</th>
              <td>
                {LEASTS.includes(rule) ? "≥" : "≤"} {formatNumber(hundredths(limit))}
              </td>
              <td>{captions ? text.broken(formatNumber(captions), shareOf(share)) : text.kept}</td>
              <td>{worst === null ? "–" : formatNumber(hundredths(worst))}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {of.broken.length > 0 && (
        <>
          <h3>{text.brokenTitle}</h3>
          <ol className="broken">
            {of.broken.map(({ caption, rule, start, value }) => (
              <li key={`${caption}-${rule}`}>
                <button type="button" onClick={() => playback.seek(start)}>
                  <span className="numbers">{formatClock(start)}</span>
                  <span>{text.brokenRule[rule](formatNumber(hundredths(value)))}</span>
                </button>
              </li>
            ))}
          </ol>
          {broken > of.broken.length && <p className="soft">{text.more(formatNumber(broken - of.broken.length))}</p>}
        </>
      )}
    </section>
  );
}

/** What there is to know, in the order of how much it matters. */
export function sentencesOf(quality: Quality, of: PresetQuality): string[] {
  const { words, doubtful_words: doubtful, mean_probability: sure, attributed } = quality;
  if (words === 0) return [text.nothingSaid];
  return [
    of.words_dropped === 0 ? text.allWords(formatNumber(words)) : text.dropped(formatNumber(of.words_dropped)),
    text.within(formatNumber(of.captions), shareOf(of.within_limits)),
    ...(sure === null ? [] : [text.sure(formatPercent(sure), formatNumber(doubtful))]),
    ...(attributed === null ? [] : [text.attributed(shareOf(attributed))]),
    text.silence(formatDuration(quality.longest_silence_s), formatClock(quality.longest_silence_at)),
  ];
}

const hundredths = (value: number): number => Math.round(value * 100) / 100;

/** Never all where it is not quite all, nor nothing where it is something. */
export function shareOf(fraction: number): string {
  if (fraction > 0.99 && fraction < 1) return text.over(formatPercent(0.99));
  if (fraction > 0 && fraction < 0.01) return text.under(formatPercent(0.01));
  return formatPercent(fraction);
}
