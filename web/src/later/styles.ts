/** Style sheets that did not come: the bundler's loader asks for each but once. */
const failed = new Set<HTMLLinkElement>();

document.addEventListener(
  "error",
  ({ target }) => {
    if (target instanceof HTMLLinkElement && target.rel === "stylesheet") failed.add(target);
  },
  true, // such an event does not rise
);

/** Asks for them again. Rejects where one does not come either. */
export async function restyled(): Promise<void> {
  await Promise.all([...failed].map(again));
}

function again(link: HTMLLinkElement): Promise<void> {
  return new Promise((resolve, reject) => {
    const next = link.cloneNode() as HTMLLinkElement;
    next.onload = () => resolve();
    next.onerror = () => reject(new Error(`no ${link.href}`));
    failed.delete(link);
    link.replaceWith(next);
  });
}
