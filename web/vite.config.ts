import react from "@vitejs/plugin-react";
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

// The gateway's policy forbids inline scripts and styles, so nothing is inlined; names carry their hash.
export default defineConfig({
  plugins: [react(), firstPaintWaits()],
  build: {
    outDir: "../services/gateway/static",
    emptyOutDir: true,
    assetsDir: "assets/web",
    assetsInlineLimit: 0,
    target: "es2022",
    modulePreload: { polyfill: false },
  },
  server: { proxy: { "/api": "http://127.0.0.1:8000", "/ws": { target: "ws://127.0.0.1:8000", ws: true } } },
  test: { include: ["tests/**/*.test.ts"] },
});

/** The script chooses the appearance: what is painted before it would flash in the other. There is nothing else to see. */
function firstPaintWaits(): Plugin {
  return {
    name: "first-paint-waits",
    apply: "build",
    transformIndexHtml: (html) => html.replace('<script type="module"', '<script type="module" blocking="render"'),
  };
}
