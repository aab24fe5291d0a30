/** The captions of a preset, read back from the very file that is taken away: what is seen is what is in it. */
export interface Caption {
  /** Seconds. */
  start: number;
  end: number;
  lines: string[];
  speaker: string | null;
}

const TIMES = /^(\d+):(\d\d):(\d\d\.\d{3}) --> (\d+):(\d\d):(\d\d\.\d{3})$/;
const VOICE = /^<v ([^>]*)>/;

/** WebVTT as the exporter writes it. */
export function captionsOf(vtt: string): Caption[] {
  const captions: Caption[] = [];
  for (const block of vtt.split("\n\n")) {
    const [times = "", ...lines] = block.trimEnd().split("\n");
    const found = TIMES.exec(times);
    if (!found) continue;
    const voice = VOICE.exec(lines[0] ?? "");
    if (voice) lines[0] = lines[0]?.slice(voice[0].length) ?? "";
    captions.push({
      start: seconds(found.slice(1, 4)),
      end: seconds(found.slice(4, 7)),
      lines: lines.map(plain),
      speaker: voice ? plain(voice[1] ?? "") : null,
    });
  }
  return captions;
}

/** The number of the last caption that has begun by then; -1 before the first. */
export function begunBy(captions: readonly Caption[], at: number): number {
  let [low, high] = [0, captions.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((captions[middle]?.start ?? 0) <= at) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** The number of the caption that is on the screen; -1 where there is none. */
export function shownAt(captions: readonly Caption[], at: number): number {
  const last = begunBy(captions, at);
  return at < (captions[last]?.end ?? 0) ? last : -1;
}

function seconds([hours, minutes, rest]: string[]): number {
  return Number(hours) * 3600 + Number(minutes) * 60 + Number(rest);
}

function plain(text: string): string {
  return text.replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&");
}
