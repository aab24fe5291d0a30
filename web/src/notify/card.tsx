import { useSyncExternalStore } from "react";
import { Icon } from "../icons";
import { notices } from "../session";
import { strings } from "../strings";
import "../styles/notify.css";

const text = strings.notify;

/** Our own question, before the browser's: it takes no focus and covers nothing that is at work. */
export default function NotifyCard() {
  const { asking, refused } = useSyncExternalStore(notices.subscribe, notices.current);
  return (
    <div role="status" className="notify-place">
      {asking && (
        <section className="notify" aria-labelledby="notify-title">
          <h2 id="notify-title">
            <Icon name="bell" size={20} />
            {text.title}
          </h2>
          <p>{text.reason}</p>
          <div className="notify-actions">
            <button type="button" className="button primary small" onClick={() => void notices.accept()}>
              {text.yes}
            </button>
            <button type="button" className="button small" onClick={() => notices.decline()}>
              {text.no}
            </button>
          </div>
        </section>
      )}
      {refused && (
        <section className="notify">
          <p>{text.refused}</p>
          <div className="notify-actions">
            <button type="button" className="button small" onClick={() => notices.decline()}>
              {text.understood}
            </button>
          </div>
        </section>
      )}
    </div>
  );
}
