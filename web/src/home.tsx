import { type DragEvent, useEffect, useRef, useState } from "react";
import { formatBytes } from "./format";
import { Icon } from "./icons";
import { uploads, useUploads } from "./session";
import { strings } from "./strings";
import { type Asked, NOTHING_ASKED, Options, parametersOf } from "./uploads/options";
import { UploadList } from "./uploads/view";

const text = strings.home;
const RECORDING =
  /\.(mp4|m4v|mov|mkv|webm|avi|wmv|flv|mpe?g|ts|mts|m2ts|3gp|mp3|m4a|m4b|aac|wav|flac|og[gva]|opus|wma|aiff?|amr|caf)$/i;

interface Picked {
  file: File;
  handle?: FileSystemFileHandle | undefined;
}
interface Notice {
  key: number;
  kind: "refused" | "odd";
  sentence: string;
}

export function Home({ onSeeJobs }: { onSeeJobs: () => void }) {
  const { capacity } = useUploads();
  const [asked, setAsked] = useState<Asked>(NOTHING_ASKED);
  const [notices, setNotices] = useState<Notice[]>([]);
  const [over, setOver] = useState(false);
  const input = useRef<HTMLInputElement>(null);
  const count = useRef(0);

  useEffect(() => {
    document.title = strings.name;
    void uploads.askCapacity();
  }, []);

  const add = (picked: readonly Picked[]) => {
    const told: Notice[] = [];
    const tell = (kind: Notice["kind"], sentence: string) => told.push({ key: count.current++, kind, sentence });
    for (const { file, handle } of picked) {
      const limit = capacity?.max_upload_bytes ?? Number.POSITIVE_INFINITY;
      if (file.size === 0) tell("refused", text.empty(file.name));
      else if (file.size > limit) tell("refused", text.large(file.name, formatBytes(file.size), formatBytes(limit)));
      else {
        if (!RECORDING.test(file.name) && !/^(audio|video)\//.test(file.type)) tell("odd", text.odd(file.name));
        uploads.add(file, handle, parametersOf(asked));
      }
    }
    setNotices(told);
  };

  const dropped = async (event: DragEvent) => {
    event.preventDefault();
    setOver(false);
    const items = [...event.dataTransfer.items].filter(({ kind }) => kind === "file");
    const handles = items.map((item) => ({ file: item.getAsFile(), handle: handleOf(item) }));
    const picked = await Promise.all(handles.map(async ({ file, handle }) => ({ file, handle: await handle })));
    add(picked.flatMap(({ file, handle }) => (file ? [{ file, handle }] : [])));
  };

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
      {/* eslint-disable-next-line jsx-a11y/no-static-element-interactions -- the button in it does the same by keyboard */}
      <div
        className={over ? "drop over" : "drop"}
        onDragOver={(event) => {
          event.preventDefault();
          setOver(true);
        }}
        onDragLeave={(event) => {
          if (!event.currentTarget.contains(event.relatedTarget as Node | null)) setOver(false);
        }}
        onDrop={(event) => void dropped(event)}
      >
        <span className="drop-icon">
          <Icon name="upload" size={30} />
        </span>
        <p className="drop-title">{over ? text.dropNow : text.drop}</p>
        <p className="drop-or">{text.or}</p>
        <button type="button" className="button primary" onClick={() => void choose()}>
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
          <div key={key} className={`notice ${kind}`}>
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
      <Options asked={asked} onChange={setAsked} />
      <UploadList />
    </div>
  );
}

type Picking = Window & { showOpenFilePicker?: (how: { multiple: true }) => Promise<FileSystemFileHandle[]> };

async function handleOf(item: DataTransferItem): Promise<FileSystemFileHandle | undefined> {
  const asking = (item as { getAsFileSystemHandle?: () => Promise<FileSystemHandle | null> }).getAsFileSystemHandle;
  const handle = await asking?.call(item).catch(() => null);
  return handle?.kind === "file" ? (handle as FileSystemFileHandle) : undefined;
}
