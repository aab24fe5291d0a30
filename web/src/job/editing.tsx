import { useEffect, useState } from "react";
import { Icon } from "../icons";
import { Confirm } from "../panel/confirm";
import { guard } from "../route";
import { strings } from "../strings";
import { countOf, type Edits, NO_EDITS, redo, undo } from "./edits";
import { isTyping } from "../keys";

const text = strings.corrections;

interface EditBarProps {
  edits: Edits;
  onChange: (edits: Edits) => void;
  onSave: () => void;
  /** Why nothing can be changed at the moment. */
  busy: string | null;
}

/** What was changed since the last version, and what is to become of it. */
export function EditBar({ edits, onChange, onSave, busy }: EditBarProps) {
  const [asking, setAsking] = useState(false);
  const count = countOf(edits);
  useEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      if (!(event.ctrlKey || event.metaKey) || event.altKey || busy !== null) return;
      const key = event.key.toLowerCase();
      if (key === "s" && count > 0) onSave();
      else if (isTyping(event.target)) return;
      else if (key === "y" || (key === "z" && event.shiftKey)) onChange(redo(edits));
      else if (key === "z") onChange(undo(edits));
      else return;
      event.preventDefault();
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, [edits, count, busy, onChange, onSave]);
  useUnsaved(count > 0);
  return (
    <section className="edit-bar" aria-label={text.title}>
      <p className="edit-hint soft">{text.hint}</p>
      <div className="edit-actions">
        <span className="edit-count">{busy ?? text.count(count)}</span>
        <Act
          icon="undo"
          label={text.undo}
          off={!edits.steps.length || busy !== null}
          act={() => onChange(undo(edits))}
        />
        <Act
          icon="redo"
          label={text.redo}
          off={!edits.undone.length || busy !== null}
          act={() => onChange(redo(edits))}
        />
        <Act label={text.discard} off={count === 0 || busy !== null} act={() => setAsking(true)} />
        <Act kind="primary" label={text.save} off={count === 0 || busy !== null} act={onSave} />
      </div>
      <Confirm
        open={asking}
        onClose={() => setAsking(false)}
        title={text.discardAsk}
        text={text.discardText(count)}
        yes={text.discardYes}
        no={text.discardNo}
        act={() => onChange(NO_EDITS)}
      />
    </section>
  );
}

interface ActProps {
  label: string;
  off: boolean;
  act: () => void;
  icon?: "undo" | "redo";
  kind?: "primary";
}

/** It keeps the focus where it turns itself off. */
function Act({ label, off, act, icon, kind }: ActProps) {
  const shape = icon ? "quiet round" : (kind ?? "");
  return (
    <button
      type="button"
      className={`button small ${shape}`}
      aria-label={icon && label}
      title={icon && label}
      aria-disabled={off}
      onClick={() => off || act()}
    >
      {icon ? <Icon name={icon} size={18} /> : label}
    </button>
  );
}

/** Asks before the page is left with something that is not saved. */
function useUnsaved(unsaved: boolean): void {
  useEffect(() => {
    if (!unsaved) return;
    const leaving = (event: BeforeUnloadEvent) => event.preventDefault();
    addEventListener("beforeunload", leaving);
    const unguard = guard(() => confirm(text.leave));
    return () => {
      removeEventListener("beforeunload", leaving);
      unguard();
    };
  }, [unsaved]);
}
