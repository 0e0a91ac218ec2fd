/** Arithmetic on colours, all written "#rrggbb". Knows no browser. */

/** `colour` mixed with a share of `other`. */
export function mixed(colour: string, other: string, share: number): string {
  const theirs = parts(other);
  const sum = parts(colour).map((part, n) => Math.round(part * (1 - share) + theirs[n] * share));
  return `#${sum.map((part) => part.toString(16).padStart(2, "0")).join("")}`;
}

/** Black or white, whichever is easier to read on `colour`. */
export function readableOn(colour: string): string {
  // WCAG 2.2: relative luminance, and the value at which black and white have the same contrast.
  const [red, green, blue] = parts(colour).map((part) => {
    const value = part / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 ? "#0b1117" : "#ffffff";
}

function parts(colour: string): number[] {
  return [1, 3, 5].map((at) => Number.parseInt(colour.slice(at, at + 2), 16));
}
