import { useCallback, useEffect, useRef, useState, useSyncExternalStore } from "react";
import { Guard } from "./broken";
import { focusContent } from "./focus";
import { formatPercent } from "./format";
import { Home } from "./home";
import { Icon } from "./icons";
import { isField } from "./keys";
import { fetchAhead, JobPage, NotifyCard, Panel } from "./later/parts";
import { Opening } from "./panel/opening";
import { Link, navigate, usePath } from "./route";
import { Announcer, say } from "./said";
import { jobIdOf, jobs, notices, onSubmitted, uploads, useJobs, useUploads } from "./session";
import { Endings } from "./state/endings";
import { isOver } from "./state/merge";
import { strings } from "./strings";
import { ThemeButton } from "./theme";
import { isOnItsWay } from "./uploads/uploads";

const text = strings.header;

export function App() {
  const path = usePath();
  const jobId = jobIdOf(path);
  const [panelOpen, setPanelOpen] = useState(false);
  const [panelSeen, setPanelSeen] = useState(false);
  const [opening] = useState(() => new Opening());
  const { items, stale } = useJobs();
  const { asking, refused } = useSyncExternalStore(notices.subscribe, notices.current);
  const running = items.filter(({ mine, known }) => mine && (known === null || !isOver(known.job))).length;

  const show = useCallback((open: boolean) => {
    setPanelOpen(open);
    if (open) setPanelSeen(true);
    else focusContent(true);
  }, []);
  const byHand = useCallback(
    (open: boolean) => {
      opening.touched();
      show(open);
    },
    [opening, show],
  );

  useEffect(() => {
    const count = () => opening.sees(uploads.current().items.filter(isOnItsWay).length);
    const ends = [
      uploads.subscribe(count),
      onSubmitted((_, filename) => {
        say(strings.uploads.added(filename));
        if (jobIdOf(location.pathname) === null && opening.submitted(isField(document.activeElement))) show(true);
      }),
    ];
    count();
    const turned = ({ target }: Event) => isField(target) && opening.types();
    for (const kind of ["focusin", "input"]) document.addEventListener(kind, turned);
    return () => {
      for (const kind of ["focusin", "input"]) document.removeEventListener(kind, turned);
      for (const end of ends) end();
    };
  }, [opening, show]);
  useAnnouncedEndings();
  useFocusThatFollows(path);
  useEffect(fetchAhead, []);
  useEffect(leaveNoPageByDropping, []);

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
          <button type="button" className="button quiet" onClick={() => byHand(true)} aria-haspopup="dialog">
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
        <Guard key={path} place="page">
          {jobId === null ? <Home onSeeJobs={() => byHand(true)} /> : <JobPage key={jobId} id={jobId} />}
        </Guard>
      </main>
      <footer className="foot">
        <a href="/docs">{strings.footer.api}</a>
        <a href="/health/ready">{strings.footer.health}</a>
      </footer>
      <Announcer />
      <Guard place="corner">
        {(asking || refused) && <NotifyCard />}
        {panelSeen && (
          <Panel
            open={panelOpen}
            onOpenChange={byHand}
            onView={(id) => {
              byHand(false);
              navigate(`/jobs/${id}`);
            }}
          />
        )}
      </Guard>
    </>
  );
}

/** The end of each of one's own jobs is said, whatever is shown. */
function useAnnouncedEndings(): void {
  const [endings] = useState(() => new Endings());
  useEffect(() => {
    const look = () => {
      for (const { status, filename } of endings.of(jobs.current().items))
        if (status === "completed" || status === "failed") say(strings.jobs.said[status](filename));
    };
    look();
    return jobs.subscribe(look);
  }, [endings]);
}

/** Where another address is shown, the focus goes there too. */
function useFocusThatFollows(path: string): void {
  const before = useRef(path);
  useEffect(() => {
    if (before.current !== path) focusContent();
    before.current = path;
  }, [path]);
}

/** A file that is let go beside the place for it would be opened instead of the page. */
function leaveNoPageByDropping(): () => void {
  const stay = (event: DragEvent) => {
    if (event.defaultPrevented || !event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "none";
  };
  addEventListener("dragover", stay);
  addEventListener("drop", stay);
  return () => {
    removeEventListener("dragover", stay);
    removeEventListener("drop", stay);
  };
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
