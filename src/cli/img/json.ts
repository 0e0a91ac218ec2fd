/** JSON as QEMU's tools print it. */
export function jsonText(value: unknown): string {
  return `${JSON.stringify(value, undefined, 4)}\n`;
}
