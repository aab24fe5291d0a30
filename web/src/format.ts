/** Numbers, times and dates as people read them, in the language of the page. */
const LOCALE = "en";

const percent = new Intl.NumberFormat(LOCALE, { style: "percent", maximumFractionDigits: 0 });
const whole = new Intl.NumberFormat(LOCALE);
const dated = new Intl.DateTimeFormat(LOCALE, { dateStyle: "medium", timeStyle: "short" });
const relative = new Intl.RelativeTimeFormat(LOCALE, { numeric: "auto" });
const languages = new Intl.DisplayNames(LOCALE, { type: "language" });

const UNITS = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"] as const;
const AGES: readonly (readonly [Intl.RelativeTimeFormatUnit, number])[] = [
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
];

export const formatPercent = (fraction: number): string => percent.format(Math.min(1, Math.max(0, fraction)));
export const formatNumber = (value: number): string => whole.format(value);
export const formatDate = (iso: string): string => dated.format(new Date(iso));
export const formatLanguage = (code: string): string => languages.of(code) ?? code;

export function formatBytes(bytes: number): string {
  const step = Math.min(UNITS.length - 1, Math.max(0, Math.floor(Math.log2(Math.max(1, bytes)) / 10)));
  const value = bytes / 1024 ** step;
  return new Intl.NumberFormat(LOCALE, {
    style: "unit",
    unit: UNITS[step] ?? "byte",
    unitDisplay: step === 0 ? "long" : "short",
    maximumFractionDigits: value < 10 && step > 1 ? 1 : 0,
  }).format(value);
}

/** A place in a recording: 1:02:03. */
export function formatClock(seconds: number): string {
  const all = Math.max(0, Math.floor(seconds));
  const [h, m, s] = [Math.floor(all / 3600), Math.floor(all / 60) % 60, all % 60];
  const two = (value: number) => String(value).padStart(2, "0");
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

/** How long something takes, roughly: 40 sec, 3 min, 2 hr. */
export function formatDuration(seconds: number): string {
  const [unit, length] = seconds < 90 ? ["second", 1] : seconds < 5400 ? ["minute", 60] : ["hour", 3600];
  return new Intl.NumberFormat(LOCALE, {
    style: "unit",
    unit: unit,
    unitDisplay: "short",
    maximumFractionDigits: unit === "hour" ? 1 : 0,
  }).format(Math.max(1, seconds / length));
}

/** How long ago, by the server's clock. */
export function formatAge(iso: string, nowMs: number): string {
  const seconds = Math.max(0, (nowMs - Date.parse(iso)) / 1000);
  for (const [unit, length] of AGES) if (seconds >= length) return relative.format(-Math.floor(seconds / length), unit);
  return relative.format(0, "second");
}
