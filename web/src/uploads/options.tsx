import { type ReactNode, useId } from "react";
import { LANGUAGES } from "../../generated/languages";
import type { Parameters, PresetName } from "../api";
import { formatLanguage } from "../format";
import { Icon } from "../icons";
import { strings } from "../strings";

const text = strings.options;
const SPEAKERS_MAX = 50;

/** What the form holds; of it, what differs from the server's defaults becomes parameters. */
export interface Asked {
  language: string;
  force: boolean;
  task: "transcribe" | "translate";
  model: string;
  diarize: boolean;
  counting: "any" | "exact" | "range";
  exact: string;
  min: string;
  max: string;
  strict: boolean;
  prompt: string;
  hotwords: string;
  preset: PresetName;
}

export const NOTHING_ASKED: Asked = {
  language: "",
  force: false,
  task: "transcribe",
  model: "",
  diarize: true,
  counting: "any",
  exact: "2",
  min: "",
  max: "",
  strict: false,
  prompt: "",
  hotwords: "",
  preset: "standard",
};

export function parametersOf(asked: Asked): Partial<Parameters> {
  const found: Partial<Parameters> = {};
  if (asked.language) found.language = asked.language;
  if (asked.language && asked.force) found.force_language = true;
  if (asked.task !== "transcribe") found.task = asked.task;
  if (asked.model.trim()) found.model = asked.model.trim();
  if (asked.prompt.trim()) found.initial_prompt = asked.prompt.trim();
  if (asked.hotwords.trim()) found.hotwords = asked.hotwords.trim();
  if (asked.preset !== "standard") found.caption_preset = asked.preset;
  if (!asked.diarize) return { ...found, diarize: false };
  if (asked.strict) found.strict = true;
  const [exact, min, max] = [asked.exact, asked.min, asked.max].map(counted);
  if (asked.counting === "exact" && exact) found.num_speakers = exact;
  if (asked.counting === "range") {
    if (min) found.min_speakers = min;
    if (max) found.max_speakers = min && max < min ? min : max;
  }
  return found;
}

export function Options({ asked, onChange }: { asked: Asked; onChange: (asked: Asked) => void }) {
  const set = (changes: Partial<Asked>) => onChange({ ...asked, ...changes });
  const wrongOrder = asked.counting === "range" && (counted(asked.min) ?? 0) > (counted(asked.max) ?? SPEAKERS_MAX);
  const changed = Object.keys(parametersOf(asked)).length;
  return (
    <details className="options">
      <summary>
        <Icon name="right" size={18} />
        <span>{text.title}</span>
        {changed > 0 && <span className="count">{changed}</span>}
        <span className="note">{text.note}</span>
      </summary>
      <div className="fields">
        <Field label={text.language}>
          {(id) => (
            <select id={id} value={asked.language} onChange={({ target }) => set({ language: target.value })}>
              <option value="">{text.detect}</option>
              {NAMED.map(([code, name]) => (
                <option key={code} value={code}>
                  {name}
                </option>
              ))}
            </select>
          )}
        </Field>
        <Field label={text.task}>
          {(id) => (
            <select id={id} value={asked.task} onChange={({ target }) => set({ task: target.value as Asked["task"] })}>
              <option value="transcribe">{text.transcribe}</option>
              <option value="translate">{text.translate}</option>
            </select>
          )}
        </Field>
        <Check
          label={text.force}
          checked={asked.force && asked.language !== ""}
          disabled={asked.language === ""}
          onChange={(force) => set({ force })}
        />
        <Check label={text.diarize} checked={asked.diarize} onChange={(diarize) => set({ diarize })} />
        <Field label={text.speakers}>
          {(id) => (
            <select
              id={id}
              disabled={!asked.diarize}
              value={asked.counting}
              onChange={({ target }) => set({ counting: target.value as Asked["counting"] })}
            >
              <option value="any">{text.speakersAny}</option>
              <option value="exact">{text.speakersExact}</option>
              <option value="range">{text.speakersRange}</option>
            </select>
          )}
        </Field>
        {asked.diarize && asked.counting === "exact" && (
          <Count label={text.exact} value={asked.exact} onChange={(exact) => set({ exact })} />
        )}
        {asked.diarize && asked.counting === "range" && (
          <div className="pair">
            <Count label={text.min} value={asked.min} onChange={(min) => set({ min })} />
            <Count label={text.max} value={asked.max} onChange={(max) => set({ max })} />
            {wrongOrder && <p className="wrong">{text.order}</p>}
          </div>
        )}
        <Check
          label={text.strict}
          checked={asked.strict && asked.diarize}
          disabled={!asked.diarize}
          onChange={(strict) => set({ strict })}
        />
        <Field label={text.model} hint={text.modelHint}>
          {(id, hint) => (
            <input
              id={id}
              aria-describedby={hint}
              placeholder="base"
              pattern="[A-Za-z0-9][A-Za-z0-9._\-]{0,63}"
              autoComplete="off"
              spellCheck={false}
              value={asked.model}
              onChange={({ target }) => set({ model: target.value })}
            />
          )}
        </Field>
        <Field label={text.captionPreset}>
          {(id) => (
            <select id={id} value={asked.preset} onChange={({ target }) => set({ preset: target.value as PresetName })}>
              {Object.entries(strings.captions.presets).map(([preset, name]) => (
                <option key={preset} value={preset}>
                  {name}
                </option>
              ))}
            </select>
          )}
        </Field>
        <Field label={text.hotwords} hint={text.hotwordsHint}>
          {(id, hint) => (
            <input
              id={id}
              aria-describedby={hint}
              maxLength={1000}
              value={asked.hotwords}
              onChange={({ target }) => set({ hotwords: target.value })}
            />
          )}
        </Field>
        <Field label={text.prompt} hint={text.promptHint} wide>
          {(id, hint) => (
            <textarea
              id={id}
              aria-describedby={hint}
              rows={2}
              maxLength={1000}
              value={asked.prompt}
              onChange={({ target }) => set({ prompt: target.value })}
            />
          )}
        </Field>
      </div>
    </details>
  );
}

interface FieldProps {
  label: string;
  hint?: string;
  wide?: boolean;
  children: (id: string, hintId: string | undefined) => ReactNode;
}

function Field({ label, hint, wide, children }: FieldProps) {
  const id = useId();
  return (
    <div className={wide ? "field wide" : "field"}>
      <label htmlFor={id}>{label}</label>
      {children(id, hint ? `${id}-hint` : undefined)}
      {hint && (
        <p className="hint" id={`${id}-hint`}>
          {hint}
        </p>
      )}
    </div>
  );
}

function Count({ label, value, onChange }: { label: string; value: string; onChange: (value: string) => void }) {
  return (
    <Field label={label}>
      {(id) => (
        <input
          id={id}
          type="number"
          min={1}
          max={SPEAKERS_MAX}
          value={value}
          onChange={({ target }) => onChange(target.value)}
        />
      )}
    </Field>
  );
}

interface CheckProps {
  label: string;
  checked: boolean;
  disabled?: boolean;
  onChange: (checked: boolean) => void;
}

function Check({ label, checked, disabled = false, onChange }: CheckProps) {
  return (
    <label className="check">
      <input
        type="checkbox"
        checked={checked}
        disabled={disabled}
        onChange={({ target }) => onChange(target.checked)}
      />
      {label}
    </label>
  );
}

const NAMED = LANGUAGES.map((code) => [code, formatLanguage(code)] as const).sort((a, b) => a[1].localeCompare(b[1]));

function counted(value: string): number | null {
  const count = Number.parseInt(value, 10);
  return Number.isNaN(count) || count < 1 ? null : Math.min(count, SPEAKERS_MAX);
}
