/** JSON as QEMU's tools print it: empty arrays and objects take two lines. */
export function jsonText(value: unknown): string {
  const text = JSON.stringify(value, undefined, 4);
  return `${text.replace(
    /^( *)(.*)(?:(\[)\]|(\{)\})(,?)$/gm,
    (_line, indent, before, array, object, comma) =>
      array === undefined
        ? `${indent}${before}${object}\n${indent}}${comma}`
        : `${indent}${before}${array}\n${indent}]${comma}`,
  )}\n`;
}
