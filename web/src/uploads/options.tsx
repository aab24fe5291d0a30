import { type ReactNode, type Ref, useId } from "react";
import { LANGUAGES } from "../../generated/languages";
import type { PresetName } from "../api";
import { formatLanguage } from "../format";
import { Icon } from "../icons";
import { strings } from "../strings";
import { type Asked, parametersOf, SPEAKERS_MAX, wrongOf } from "./asked";

const text = strings.options;

interface OptionsProps {
  asked: Asked;
  onChange: (asked: Asked) => void;
  ref: Ref<HTMLDetailsElement>;
}

export function Options({ asked, onChange, ref }: OptionsProps) {
  const set = (changes: Partial<Asked>) => onChange({ ...asked, ...changes });
  const wrong = wrongOf(asked);
  const changed = Object.keys(parametersOf(asked)).length;
  return (
    <details className="options" ref={ref}>
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
          <Count label={text.exact} value={asked.exact} wrong={wrong.exact} onChange={(exact) => set({ exact })} />
        )}
        {asked.diarize && asked.counting === "range" && (
          <div className="pair">
            <Count label={text.min} value={asked.min} wrong={wrong.min} onChange={(min) => set({ min })} />
            <Count label={text.max} value={asked.max} wrong={wrong.max} onChange={(max) => set({ max })} />
          </div>
        )}
        <Check
          label={text.strict}
          checked={asked.strict && asked.diarize}
          disabled={!asked.diarize}
          onChange={(strict) => set({ strict })}
        />
        <Field label={text.model} hint={text.modelHint} wrong={wrong.model}>
          {(id, hint) => (
            <input
              id={id}
              aria-describedby={hint}
              aria-invalid={wrong.model !== undefined}
              placeholder="base"
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
  /** In place of the hint, and read out; an empty place is kept for it, so that nothing jumps. */
  wrong?: string | undefined;
  wide?: boolean;
  children: (id: string, hintId: string | undefined) => ReactNode;
}

function Field({ label, hint, wrong, wide, children }: FieldProps) {
  const id = useId();
  const told = hint !== undefined;
  return (
    <div className={wide ? "field wide" : "field"}>
      <label htmlFor={id}>{label}</label>
      {children(id, told ? `${id}-hint` : undefined)}
      {told && (
        <p className={wrong ? "hint wrong" : "hint"} id={`${id}-hint`} aria-live="polite">
          {wrong ?? hint}
        </p>
      )}
    </div>
  );
}

interface CountProps {
  label: string;
  value: string;
  wrong: string | undefined;
  onChange: (value: string) => void;
}

function Count({ label, value, wrong, onChange }: CountProps) {
  return (
    <Field label={label} hint="" wrong={wrong}>
      {(id, hint) => (
        <input
          id={id}
          aria-describedby={hint}
          aria-invalid={wrong !== undefined}
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
