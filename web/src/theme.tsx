import { useEffect, useState } from "react";
import { Icon } from "./icons";
import { strings } from "./strings";

type Theme = keyof typeof strings.header.theme;
const NEXT: Record<Theme, Theme> = { auto: "light", light: "dark", dark: "auto" };
const ICON = { auto: "auto", light: "sun", dark: "moon" } as const;
const KEY = "subtide.theme";

function stored(): Theme {
  const found = localStorage.getItem(KEY);
  return found === "light" || found === "dark" ? found : "auto";
}

export function ThemeButton() {
  const [theme, setTheme] = useState(stored);
  useEffect(() => {
    document.documentElement.style.colorScheme = theme === "auto" ? "" : theme;
    localStorage.setItem(KEY, theme);
  }, [theme]);
  return (
    <button
      type="button"
      className="button quiet round"
      aria-label={strings.header.theme[theme]}
      title={strings.header.theme[theme]}
      onClick={() => setTheme(NEXT[theme])}
    >
      <Icon name={ICON[theme]} />
    </button>
  );
}
