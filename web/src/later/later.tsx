import { type ComponentType, type ReactNode, useEffect, useSyncExternalStore } from "react";
import { Broken } from "../broken";
import { strings } from "../strings";
import { Loading } from "./loading";
import { restyled } from "./styles";

const text = strings.broken;

/** Where a part stands, and so what is shown in its place while it is not there; nothing of what nobody has asked for. */
type Place = "page" | "corner" | "aside" | "unasked";

interface Later<P> {
  (props: P): ReactNode;
  /** Load it ahead of time. */
  load: () => Promise<boolean>;
}

/** A part of the page that is loaded when it is first shown. Where that fails, it says so, and goes on by itself. */
export function later<P extends object>(load: () => Promise<{ default: ComponentType<P> }>, place: Place): Later<P> {
  const loading = new Loading(async () => {
    await restyled();
    return (await load()).default;
  });
  function Part(props: P) {
    const { value: Loaded, failed } = useSyncExternalStore(loading.subscribe, loading.current);
    useEffect(() => {
      const begin = () => void loading.begin();
      begin();
      addEventListener("online", begin);
      return () => removeEventListener("online", begin);
    }, []);
    if (Loaded) return <Loaded {...props} />;
    if (!failed || place === "unasked") return place === "page" ? <Waiting /> : null;
    return <Broken place={place} title={text.title} sentence={text.unloaded} again={() => void again(loading)} />;
  }
  return Object.assign(Part, { load: () => loading.begin() });
}

/** Where the server answers and yet the part is gone, the page is of yesterday: only a new one helps. */
async function again(loading: Loading<unknown>): Promise<void> {
  if (await loading.begin()) return;
  const answer = await fetch(location.pathname, { cache: "no-store" }).catch(() => null);
  if (answer?.ok) location.reload();
}

export function Waiting() {
  return (
    <div className="waiting" role="status">
      <span className="hidden">{strings.loading}</span>
      <div className="bone wide" />
      <div className="bone" />
      <div className="bone" />
    </div>
  );
}
