import { onlineManager, QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { type ReactNode, useEffect } from "react";
import { Problem } from "./api";

const client = new QueryClient({
  defaultOptions: {
    queries: {
      // Without a network there is nothing to try: once it is back, all is asked again at once.
      retry: (count, error) => count < 4 && navigator.onLine && (!(error instanceof Problem) || error.passing),
      networkMode: "always",
      refetchOnReconnect: true,
    },
    mutations: { networkMode: "always" },
  },
});

export function Queries({ children }: { children: ReactNode }) {
  useEffect(() => onlineManager.setOnline(navigator.onLine), []); // it hears only of what changes from now on
  return <QueryClientProvider client={client}>{children}</QueryClientProvider>;
}
