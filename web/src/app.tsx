import { lazy, Suspense, useCallback, useEffect, useState, useSyncExternalStore } from "react";
import { formatPercent } from "./format";
import { Home } from "./home";
import { Icon } from "./icons";
import { Link, navigate, usePath } from "./route";
import { jobIdOf, notices, onSubmitted, useJobs, useUploads } from "./session";
import { isOver } from "./state/merge";
import { strings } from "./strings";
import { ThemeButton } from "./theme";

const panel = () => import("./panel/panel");
const Panel = lazy(panel);
const NotifyCard = lazy(() => import("./notify/card"));
const JobPage = lazy(() => import("./job/page"));

const text = strings.header;

export function App() {
  const path = usePath();
  const jobId = jobIdOf(path);
  const [panelOpen, setPanelOpen] = useState(false);
  const [panelSeen, setPanelSeen] = useState(false);
  const [said, setSaid] = useState("");
  const { items, stale } = useJobs();
  const { asking, refused } = useSyncExternalStore(notices.subscribe, notices.current);
  const running = items.filter(({ mine, known }) => mine && (known === null || !isOver(known.job))).length;

  const openPanel = useCallback((open: boolean) => {
    setPanelOpen(open);
    if (open) setPanelSeen(true);
  }, []);

  useEffect(
    () =>
      onSubmitted((_, filename) => {
        setSaid(strings.uploads.added(filename));
        if (jobIdOf(location.pathname) === null) openPanel(true);
      }),
    [openPanel],
  );
  useEffect(() => {
    const idle = setTimeout(() => void panel(), 1500);
    return () => clearTimeout(idle);
  }, []);

  return (
    <>
      <a className="skip" href="#content">
        {strings.skip}
      </a>
      <header className="top">
        <Link className="brand" href="/" aria-label={text.home}>
          <span className="mark">
            <Icon name="wave" size={22} />
          </span>
          {strings.name}
        </Link>
        <div className="top-actions">
          {jobId !== null && <UploadPill />}
          <ThemeButton />
          <button type="button" className="button quiet" onClick={() => openPanel(true)} aria-haspopup="dialog">
            <Icon name="jobs" />
            <span aria-hidden="true">{text.jobs}</span>
            {running > 0 && (
              <span className="count" aria-hidden="true">
                {running}
              </span>
            )}
            <span className="hidden">{running > 0 ? text.jobsRunning(running) : text.jobs}</span>
          </button>
        </div>
      </header>
      <div role="status" className="statusbar">
        {stale && (
          <p className="offline">
            <Icon name="cloudOff" size={18} />
            {strings.offline}
          </p>
        )}
      </div>
      <main id="content" tabIndex={-1}>
        {jobId === null ? (
          <Home onSeeJobs={() => openPanel(true)} />
        ) : (
          <Suspense fallback={<Waiting />}>
            <JobPage key={jobId} id={jobId} />
          </Suspense>
        )}
      </main>
      <footer className="foot">
        <a href="/docs">{strings.footer.api}</a>
        <a href="/health/ready">{strings.footer.health}</a>
      </footer>
      <p className="hidden" aria-live="polite">
        {said}
      </p>
      {(asking || refused) && (
        <Suspense fallback={null}>
          <NotifyCard />
        </Suspense>
      )}
      {panelSeen && (
        <Suspense fallback={null}>
          <Panel
            open={panelOpen}
            onOpenChange={openPanel}
            onView={(id) => {
              openPanel(false);
              navigate(`/jobs/${id}`);
            }}
          />
        </Suspense>
      )}
    </>
  );
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

function UploadPill() {
  const { items } = useUploads();
  const size = items.reduce((sum, { record }) => sum + record.size, 0);
  if (size === 0) return null;
  const sent = items.reduce((sum, item) => sum + item.sent, 0);
  return (
    <Link className="pill" href="/">
      <Icon name="upload" size={16} />
      {text.uploading(formatPercent(sent / size))}
    </Link>
  );
}
