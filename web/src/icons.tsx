/** Drawn here, so that no font or picture has to be fetched. */
const PATHS = {
  wave: "M2 9c2.500 0 2.500 2.500 5 2.500S9.500 9 12 9s2.500 2.500 5 2.500S19.500 9 22 9M2 15c2.500 0 2.500 2.500 5 2.500S9.500 15 12 15s2.500 2.500 5 2.500 2.500-2.500 5-2.500",
  upload:
    "M12 16V5m0 0L7.500 9.500M12 5l4.500 4.500M4 16v2.500A1.500 1.500 0 0 0 5.500 20h13a1.500 1.500 0 0 0 1.500-1.500V16",
  jobs: "M4 6h16M4 12h16M4 18h10",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2v2m0 16v2M4.900 4.900l1.400 1.400m11.400 11.400 1.400 1.400M2 12h2m16 0h2M4.900 19.100l1.400-1.400M17.700 6.300l1.400-1.400",
  moon: "M20 14.500A8.500 8.500 0 0 1 9.500 4a8.500 8.500 0 1 0 10.500 10.500z",
  auto: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zm0 0v18M12 7h5.500M12 12h9M12 17h5.500",
  close: "M6 6l12 12M18 6 6 18",
  pause: "M8 5v14M16 5v14",
  play: "M7 4.500v15l12-7.500z",
  back5: "M11 8 7 12l4 4M17 8l-4 4 4 4",
  forward5: "M7 8l4 4-4 4M13 8l4 4-4 4",
  download: "M12 4v11m0 0-4.500-4.500M12 15l4.500-4.500M5 20h14",
  share:
    "M9 12a3 3 0 1 1-6 0 3 3 0 0 1 6 0zm12-6a3 3 0 1 1-6 0 3 3 0 0 1 6 0zm0 12a3 3 0 1 1-6 0 3 3 0 0 1 6 0zM8.700 10.700l6.600-3.400M8.700 13.300l6.600 3.400",
  retry: "M20 11A8 8 0 1 0 18 17m2-12v6h-6",
  trash: "M5 7h14M10 7V4.500h4V7M7 7l.800 12.500h8.400L17 7",
  search: "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zm5.200 12.200L21 21",
  up: "M6 15l6-6 6 6",
  down: "M6 9l6 6 6-6",
  copy: "M9 9h10v11H9zM5 15V4h10",
  print: "M7 9V4h10v5M7 17H4v-8h16v8h-3M7 14h10v6H7z",
  check: "M5 12.500l4.500 4.500L19 7.500",
  left: "M15 6l-6 6 6 6",
  right: "M9 6l6 6-6 6",
  cloudOff: "M3 3l18 18M7 9.500A5 5 0 0 0 8 19h9m3.500-2.500A4 4 0 0 0 17 11a6 6 0 0 0-6.500-4.800",
  sound: "M4 9.500v5h3.500L12 18.500v-13L7.500 9.500zM15.500 9a4 4 0 0 1 0 6M18 6.500a8 8 0 0 1 0 11",
  silent: "M4 9.500v5h3.500L12 18.500v-13L7.500 9.500zM16 9.500l5 5m0-5-5 5",
  full: "M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5",
  bell: "M6 16V11a6 6 0 0 1 12 0v5l1.500 2h-15zM10 20.500h4",
  pencil: "M4 20l1-4.500L16 4.500l3.500 3.500L8.500 19zM13.500 7l3.500 3.500",
  undo: "M8 5 4 9l4 4M4 9h10a5.500 5.500 0 0 1 0 11h-3",
  redo: "M16 5l4 4-4 4M20 9H10a5.500 5.500 0 0 0 0 11h3",
  history: "M4 12a8 8 0 1 0 2.500-5.800M4 4v4h4M12 8v4.500l3 2",
  captions: "M3 5h18v14H3zM7 13h4m3 0h3M7 16h7",
} as const;

export function Icon({ name, size = 20 }: { name: keyof typeof PATHS; size?: number }) {
  return (
    <svg className="icon" viewBox="0 0 24 24" width={size} height={size} aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  );
}
