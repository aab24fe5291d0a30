import { useEffect, useRef } from "react";
import { Icon } from "../icons";
import { isTaken } from "../keys";
import { strings } from "../strings";

const text = strings.transcript;

interface ToolbarProps {
  query: string;
  onQuery: (query: string) => void;
  at: number;
  of: number;
  onHit: (step: 1 | -1) => void;
  /** To hear a hit. */
  onEnter: (step: 1 | -1) => void;
  doubtful: number;
  onDoubtful: (step: 1 | -1) => void;
  following: boolean;
  onFollow: () => void;
  editing: boolean;
  /** Where the transcript may be corrected. */
  onEdit: (() => void) | null;
}

export function Toolbar(props: ToolbarProps) {
  const { query, onQuery, at, of, onHit, onEnter, doubtful, onDoubtful, following, onFollow, editing, onEdit } = props;
  const input = useRef<HTMLInputElement>(null);
  useEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      if (isTaken(event)) return;
      if (event.key === "/") input.current?.focus();
      else if (event.key.toLowerCase() === "e" && onEdit) onEdit();
      else return;
      event.preventDefault();
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, [onEdit]);
  return (
    <div className="toolbar">
      <search className="searching">
        <Icon name="search" size={18} />
        <input
          ref={input}
          type="search"
          placeholder={text.search}
          aria-label={text.searchIn}
          value={query}
          onChange={({ target }) => onQuery(target.value)}
          onKeyDown={(event) => {
            if (event.key === "Enter") onEnter(event.shiftKey ? -1 : 1);
            if (event.key === "Escape") onQuery("");
          }}
        />
        <span className="hit-count" aria-live="polite">
          {query.trim() && text.hits(at, of)}
        </span>
        <Small icon="up" label={text.previousHit} disabled={of === 0} act={() => onHit(-1)} />
        <Small icon="down" label={text.nextHit} disabled={of === 0} act={() => onHit(1)} />
      </search>
      {doubtful > 0 && (
        <div className="doubts">
          <span className="doubt-count">{text.doubtful(doubtful)}</span>
          <Small icon="up" label={text.previousDoubtful} act={() => onDoubtful(-1)} />
          <Small icon="down" label={text.nextDoubtful} act={() => onDoubtful(1)} />
        </div>
      )}
      {onEdit && (
        <button type="button" className="button small" aria-pressed={editing} onClick={onEdit}>
          <Icon name="pencil" size={16} />
          {strings.corrections.edit}
        </button>
      )}
      <button type="button" className="button small follow" disabled={following} onClick={onFollow}>
        {text.follow}
      </button>
    </div>
  );
}

interface SmallProps {
  icon: "up" | "down";
  label: string;
  disabled?: boolean;
  act: () => void;
}

function Small({ icon, label, disabled = false, act }: SmallProps) {
  return (
    <button
      type="button"
      className="button small quiet round"
      aria-label={label}
      title={label}
      disabled={disabled}
      onClick={act}
    >
      <Icon name={icon} size={18} />
    </button>
  );
}
