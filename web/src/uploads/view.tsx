import { useRef, useState } from "react";
import { useHandedOn } from "../focus";
import { formatBytes, formatDuration, formatPercent } from "../format";
import { Icon } from "../icons";
import { uploads, useUploads } from "../session";
import { strings } from "../strings";
import type { Item, Phase } from "./uploads";

const text = strings.uploads;

interface UploadListProps {
  /** Where the focus goes when no upload is left. */
  stays: () => HTMLElement | null;
  /** Once more, of what was not accepted. */
  onRetry: (key: string) => void;
}

export function UploadList({ stays, onRetry }: UploadListProps) {
  const { items } = useUploads();
  const list = useRef<HTMLUListElement>(null);
  const keys = items.map(({ record, phase }) => `${record.key} ${phase}`).join(" ");
  useHandedOn(list, keys, stays);
  if (items.length === 0) return null;
  return (
    <section className="uploads" aria-label={text.title}>
      <ul ref={list}>
        {items.map((item) => (
          <Row key={item.record.key} item={item} onRetry={onRetry} />
        ))}
      </ul>
    </section>
  );
}

function Row({ item, onRetry }: { item: Item; onRetry: (key: string) => void }) {
  const { record, phase, sent, bytesPerSecond, error } = item;
  const [other, setOther] = useState(false);
  const fraction = Math.min(1, sent / record.size);
  const percent = formatPercent(fraction);
  return (
    <li className={`upload ${phase}`}>
      <div className="upload-head">
        <span className="upload-name" title={record.name}>
          {record.name}
        </span>
        <Actions item={item} onOther={setOther} onRetry={onRetry} />
      </div>
      <div
        className="bar"
        role="progressbar"
        aria-label={text.progress(record.name)}
        aria-valuenow={Math.round(fraction * 100)}
        aria-valuemin={0}
        aria-valuemax={100}
        aria-valuetext={percent}
      >
        <span style={{ transform: `scaleX(${fraction})` }} />
      </div>
      <p className="upload-facts">
        <span aria-live="polite">{other ? text.other : (error ?? text.phase[phase])}</span>
        <span className="numbers">
          {text.of(formatBytes(sent), formatBytes(record.size))}
          {phase === "uploading" && bytesPerSecond !== null && (
            <>
              {" · "}
              {text.speed(formatBytes(bytesPerSecond))}
              {bytesPerSecond > 0 && <> · {text.left(formatDuration((record.size - sent) / bytesPerSecond))}</>}
            </>
          )}
        </span>
      </p>
    </li>
  );
}

const PAUSABLE: ReadonlySet<Phase> = new Set<Phase>(["queued", "uploading", "interrupted"]);

interface ActionsProps {
  item: Item;
  onOther: (other: boolean) => void;
  onRetry: (key: string) => void;
}

function Actions({ item, onOther, onRetry }: ActionsProps) {
  const { record, phase } = item;
  const input = useRef<HTMLInputElement>(null);
  if (phase === "elsewhere" || phase === "submitting") return null;
  return (
    <span className="upload-actions">
      {/* One button, which keeps the focus whatever it does next. */}
      {PAUSABLE.has(phase) ? (
        <Act label={text.pause} icon="pause" of={record.name} act={() => uploads.pause(record.key)} />
      ) : phase === "paused" ? (
        <Act label={text.resume} icon="play" of={record.name} act={() => uploads.resume(record.key)} />
      ) : phase === "failed" ? (
        <Act label={text.retry} icon="retry" of={record.name} act={() => onRetry(record.key)} />
      ) : null}
      {phase === "needs_click" && (
        <button type="button" className="button" onClick={() => uploads.permit(record.key)}>
          {text.goOn}
        </button>
      )}
      {phase === "needs_file" && (
        <>
          <button type="button" className="button" onClick={() => input.current?.click()}>
            {text.choose}
          </button>
          <input
            ref={input}
            type="file"
            hidden
            aria-label={text.choose}
            onChange={({ target }) => {
              const file = target.files?.[0];
              if (file) onOther(!uploads.chosen(record.key, file));
              target.value = "";
            }}
          />
        </>
      )}
      <Act
        label={phase === "failed" ? text.remove : text.cancel}
        icon="close"
        of={record.name}
        act={() => uploads.cancel(record.key)}
      />
    </span>
  );
}

interface ActProps {
  label: string;
  of: string;
  icon: Parameters<typeof Icon>[0]["name"];
  act: () => void;
}

function Act({ label, of, icon, act }: ActProps) {
  return (
    <button type="button" className="button quiet round" aria-label={`${label}: ${of}`} title={label} onClick={act}>
      <Icon name={icon} size={18} />
    </button>
  );
}
