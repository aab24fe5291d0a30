import { useState } from "react";
import { Icon } from "./icons";
import { lasting } from "./state/places";
import { strings } from "./strings";

type Theme = keyof typeof strings.header.theme;
const NEXT: Record<Theme, Theme> = { auto: "light", light: "dark", dark: "auto" };
const ICON = { auto: "auto", light: "sun", dark: "moon" } as const;
const KEY = "subtide.theme";

function stored(): Theme {
  const found = lasting.getItem(KEY);
  return found === "light" || found === "dark" ? found : "auto";
}

/** Put on the document by an attribute, as the style sheet's own `color-scheme` is what its colours follow. */
export function showTheme(theme: Theme = stored()): void {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}

function keep(theme: Theme): void {
  try {
    lasting.setItem(KEY, theme);
  } catch {
    // No room: it is as it was the next time.
  }
}

export function ThemeButton() {
  const [theme, setTheme] = useState(stored);
  const change = () => {
    const next = NEXT[theme];
    setTheme(next);
    showTheme(next);
    keep(next);
  };
  return (
    <button
      type="button"
      className="button quiet round"
      aria-label={strings.header.theme[theme]}
      title={strings.header.theme[theme]}
      onClick={change}
    >
      <Icon name={ICON[theme]} />
    </button>
  );
}
