/**
 * Light or dark: the system's preference until the user chooses, and the colours of
 * charts. An exit reason has the same colour in every picture.
 */

export type Theme = "light" | "dark";

export interface Palette {
  readonly ink: string;
  readonly muted: string;
  readonly line: string;
  readonly card: string;
  readonly accent: string;
  /** Time in the guest. */
  readonly guest: string;
  /** From few to many. */
  readonly heat: readonly string[];
  readonly selection: string;
}

const PALETTES: Readonly<Record<Theme, Palette>> = {
  light: {
    ink: "#17212b",
    muted: "#5a6774",
    line: "#dde3e9",
    card: "#ffffff",
    accent: "#0b5fc4",
    guest: "#cfe5dc",
    heat: ["#e9f1fb", "#9cc5ee", "#3f87d0", "#1d4f91", "#0c2650"],
    selection: "rgba(11, 95, 196, 0.14)",
  },
  dark: {
    ink: "#e5ebf1",
    muted: "#98a6b4",
    line: "#2b3641",
    card: "#161d25",
    accent: "#6cb0ff",
    guest: "#264840",
    heat: ["#1a2634", "#1f4a78", "#2f7cc4", "#74b4ee", "#e3f1ff"],
    selection: "rgba(108, 176, 255, 0.18)",
  },
};

/** For light and dark. Other reasons get the spare colours in turn. */
const REASONS: Readonly<Record<string, readonly [light: string, dark: string]>> = {
  IO: ["#2b74d4", "#5b9df5"],
  MMIO: ["#e07b1f", "#f39a46"],
  HLT: ["#8a63c7", "#ab8be6"],
  SHUTDOWN: ["#cc3340", "#f0626d"],
  HYPERCALL: ["#2f9352", "#52bd78"],
  DEBUG: ["#c2488f", "#e574b4"],
  INTR: ["#16908a", "#3fbfb6"],
  SYSTEM_EVENT: ["#8d6a45", "#c09a70"],
  others: ["#8b96a1", "#7c8894"],
};
const SPARE: readonly (readonly [string, string])[] = [
  ["#a08a00", "#d3bd3c"],
  ["#4f5fc4", "#8793f0"],
  ["#6f8f1f", "#a3c552"],
  ["#b0573a", "#e08c6d"],
  ["#3d7f99", "#6fb6d1"],
];

const dark = matchMedia("(prefers-color-scheme: dark)");
const listeners: (() => void)[] = [];
let chosen: Theme | undefined;
let names: readonly string[] = [];

export function theme(): Theme {
  return chosen ?? (dark.matches ? "dark" : "light");
}

export function palette(): Palette {
  return PALETTES[theme()];
}

/** The colour of each reason, by its index in `names`. */
export function reasonColours(names: readonly string[]): string[] {
  const column = theme() === "light" ? 0 : 1;
  let spare = 0;
  return names.map((name) => (REASONS[name] ?? SPARE[spare++ % SPARE.length])[column]);
}

export function chooseTheme(next: Theme): void {
  chosen = next;
  apply();
}

/** Calls back when the theme has changed. */
export function onTheme(listener: () => void): void {
  listeners.push(listener);
}

/** Applies the theme to the document, now and whenever the system's preference changes. */
export function startTheme(reasons: readonly string[]): void {
  names = reasons;
  dark.addEventListener("change", apply);
  apply();
}

/** The colour of a reason, or of time in the guest, as CSS that follows the theme. */
export function cssColour(reason: number | "guest"): string {
  return `var(--${reason === "guest" ? reason : `reason-${reason}`})`;
}

function apply(): void {
  const { dataset, style } = document.documentElement;
  dataset.theme = theme();
  style.setProperty("--guest", palette().guest);
  reasonColours(names).forEach((colour, reason) => {
    style.setProperty(`--reason-${reason}`, colour);
  });
  for (const listener of listeners) listener();
}
