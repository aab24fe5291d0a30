import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

// The gateway's policy forbids inline scripts and styles, so nothing is inlined; names carry their hash.
export default defineConfig({
  plugins: [react()],
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
