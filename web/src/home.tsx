import { useEffect, useEffectEvent, useRef, useState } from "react";
import { formatBytes } from "./format";
import { Icon } from "./icons";
import { uploads, useUploads } from "./session";
import { strings } from "./strings";
import { type Asked, NOTHING_ASKED, parametersOf, wrongOf } from "./uploads/asked";
import { kindOf } from "./uploads/kinds";
import { Options } from "./uploads/options";
import { UploadList } from "./uploads/view";

const text = strings.home;

interface Picked {
  file: File;
  handle?: FileSystemFileHandle | undefined;
}
interface Notice {
  key: number;
  kind: "refused" | "odd" | "options";
  sentence: string;
}

export function Home({ onSeeJobs }: { onSeeJobs: () => void }) {
  const { capacity } = useUploads();
  const [asked, setAsked] = useState<Asked>(NOTHING_ASKED);
  const [notices, setNotices] = useState<Notice[]>([]);
  const [over, setOver] = useState(false);
  const input = useRef<HTMLInputElement>(null);
  const chooser = useRef<HTMLButtonElement>(null);
  const options = useRef<HTMLDetailsElement>(null);
  const count = useRef(0);

  useEffect(() => {
    document.title = strings.name;
    void uploads.askCapacity();
  }, []);

  /** The parameters of what is sent now; null, and said why, where the server would refuse them. */
  const parameters = () => {
    const [sentence] = Object.values(wrongOf(asked));
    if (sentence === undefined) return parametersOf(asked);
    setNotices([{ key: count.current++, kind: "options", sentence: text.wrongOptions(sentence) }]);
    if (options.current) options.current.open = true;
    options.current?.querySelector<HTMLElement>("[aria-invalid=true]")?.focus();
    return null;
  };

  const add = (picked: readonly Picked[]) => {
    const wanted = parameters();
    if (wanted === null) return;
    const told: Notice[] = [];
    const tell = (kind: Notice["kind"], sentence: string) => told.push({ key: count.current++, kind, sentence });
    for (const { file, handle } of picked) {
      const limit = capacity?.max_upload_bytes ?? Number.POSITIVE_INFINITY;
      const kind = kindOf(file);
      if (kind === "other") tell("refused", text.noRecording(file.name));
      else if (file.size === 0) tell("refused", text.empty(file.name));
      else if (file.size > limit) tell("refused", text.large(file.name, formatBytes(file.size), formatBytes(limit)));
      else {
        if (kind === "unknown") tell("odd", text.odd(file.name));
        uploads.add(file, handle, wanted);
      }
    }
    setNotices(told);
  };

  const dropped = async (carried: DataTransfer) => {
    const items = [...carried.items].filter(({ kind }) => kind === "file");
    const handles = items.map((item) => ({ file: item.getAsFile(), handle: handleOf(item) }));
    const picked = await Promise.all(handles.map(async ({ file, handle }) => ({ file, handle: await handle })));
    add(picked.flatMap(({ file, handle }) => (file ? [{ file, handle }] : [])));
  };

  useDropsAnywhere(setOver, (carried) => void dropped(carried));

  const choose = async () => {
    const picker = (window as Picking).showOpenFilePicker;
    if (!picker || navigator.webdriver) {
      input.current?.click();
      return;
    }
    try {
      const handles = await picker({ multiple: true });
      add(await Promise.all(handles.map(async (handle) => ({ file: await handle.getFile(), handle }))));
    } catch (error) {
      if ((error as DOMException).name !== "AbortError") input.current?.click();
    }
  };

  return (
    <div className="home">
      <section className="hero">
        <h1>{text.title}</h1>
        <p className="lead">{text.lead}</p>
      </section>
      <div className={over ? "drop over" : "drop"}>
        <span className="drop-icon">
          <Icon name="upload" size={30} />
        </span>
        <p className="drop-title">{over ? text.dropNow : text.drop}</p>
        <p className="drop-or">{text.or}</p>
        <button ref={chooser} type="button" className="button primary" onClick={() => void choose()}>
          {text.choose}
        </button>
        <input
          ref={input}
          type="file"
          multiple
          hidden
          aria-label={text.choose}
          onChange={(event) => {
            add([...(event.target.files ?? [])].map((file) => ({ file })));
            event.target.value = "";
          }}
        />
        <p className="drop-limit">{capacity ? text.limit(formatBytes(capacity.max_upload_bytes)) : "\u00a0"}</p>
      </div>
      <div role="status">
        {capacity && !capacity.accepting && (
          <div className="notice busy">
            <p>
              <strong>{text.busy(capacity.active, capacity.waiting)}</strong> {text.busyHint}
            </p>
            <button type="button" className="button" onClick={onSeeJobs}>
              {text.busyLink}
            </button>
          </div>
        )}
        {notices.map(({ key, kind, sentence }) => (
          <div key={key} className={kind === "odd" ? "notice" : "notice bad"}>
            <p>{sentence}</p>
            <button
              type="button"
              className="button quiet round"
              aria-label={text.dismiss}
              onClick={() => setNotices((all) => all.filter((one) => one.key !== key))}
            >
              <Icon name="close" size={18} />
            </button>
          </div>
        ))}
      </div>
      <Options
        ref={options}
        asked={asked}
        onChange={(next) => {
          setAsked(next);
          setNotices((all) => all.filter(({ kind }) => kind !== "options")); // it is seen to
        }}
      />
      <UploadList
        stays={() => chooser.current}
        onRetry={(key) => {
          const wanted = parameters();
          if (wanted !== null) uploads.resume(key, wanted);
        }}
      />
    </div>
  );
}

/** Files may be let go anywhere over the page: who has aimed badly meant the same. */
function useDropsAnywhere(onOver: (over: boolean) => void, onDrop: (carried: DataTransfer) => void): void {
  const take = useEffectEvent(onDrop);
  useEffect(() => {
    const over = (event: DragEvent) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      event.dataTransfer.dropEffect = "copy";
      onOver(true);
    };
    const left = ({ relatedTarget }: DragEvent) => {
      if (relatedTarget === null) onOver(false);
    };
    const dropped = (event: DragEvent) => {
      onOver(false);
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      take(event.dataTransfer);
    };
    addEventListener("dragover", over);
    addEventListener("dragleave", left);
    addEventListener("drop", dropped);
    return () => {
      removeEventListener("dragover", over);
      removeEventListener("dragleave", left);
      removeEventListener("drop", dropped);
    };
  }, [onOver]);
}

type Picking = Window & { showOpenFilePicker?: (how: { multiple: true }) => Promise<FileSystemFileHandle[]> };

async function handleOf(item: DataTransferItem): Promise<FileSystemFileHandle | undefined> {
  const asking = (item as { getAsFileSystemHandle?: () => Promise<FileSystemHandle | null> }).getAsFileSystemHandle;
  const handle = await asking?.call(item).catch(() => null);
  return handle?.kind === "file" ? (handle as FileSystemFileHandle) : undefined;
}
