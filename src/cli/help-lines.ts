/** Lines of `--help`: what is written on the left, what it does on the right. */

const WIDTH = 100;

/** Texts begin in `column`; those that are too long are continued there. */
export function helpLines(
  rows: readonly (readonly [left: string, text: string])[],
  indent: number,
  column: number,
): string[] {
  return rows.flatMap(([left, text]) => {
    const head = " ".repeat(indent) + left;
    const [first, ...more] = wrap(text, WIDTH - column).map((line) => " ".repeat(column) + line);
    if (first === undefined) return [head];
    return head.length < column - 1 ? [head + first.slice(head.length), ...more] : [head, first, ...more];
  });
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(" ").filter((word) => word !== "")) {
    const last = lines.at(-1);
    if (last === undefined || last.length + 1 + word.length > width) lines.push(word);
    else lines[lines.length - 1] = `${last} ${word}`;
  }
  return lines;
}
