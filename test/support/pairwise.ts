/** Rows of choices in which every two choices of different columns meet at least once. */
import { random } from "./random.ts";

/** @param columns how many choices each column has */
export function pairwise(columns: readonly number[], seed = 1): number[][] {
  const next = random(seed);
  const left = new Set<string>();
  const pairsOf = (row: readonly number[]) =>
    row.flatMap((choice, i) => row.slice(i + 1).map((other, j) => `${i}:${choice} ${i + 1 + j}:${other}`));
  columns.forEach((count, i) => {
    columns.slice(i + 1).forEach((others, j) => {
      for (let one = 0; one < count; one++)
        for (let two = 0; two < others; two++) left.add(`${i}:${one} ${i + 1 + j}:${two}`);
    });
  });
  const rows: number[][] = [];
  while (left.size > 0) {
    const [first] = left;
    const forced = new Map(
      first.split(" ").map((each): [number, number] => {
        const [column, choice] = each.split(":");
        return [Number(column), Number(choice)];
      }),
    );
    let best: number[] = [];
    let most = -1;
    for (let attempt = 0; attempt < 40; attempt++) {
      const row = columns.map((count, i) => forced.get(i) ?? Math.floor(next() * count));
      const gain = pairsOf(row).filter((pair) => left.has(pair)).length;
      if (gain > most) {
        best = row;
        most = gain;
      }
    }
    rows.push(best);
    for (const pair of pairsOf(best)) left.delete(pair);
  }
  return rows;
}
