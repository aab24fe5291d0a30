import { defineConfig } from "vite";

// The service worker is one file without imports, at the root: its place is its scope.
export default defineConfig({
  publicDir: false,
  build: {
    outDir: "../services/gateway/static",
    emptyOutDir: false,
    target: "es2022",
    lib: { entry: "worker/worker.ts", formats: ["es"], fileName: () => "service-worker.js" },
  },
});
