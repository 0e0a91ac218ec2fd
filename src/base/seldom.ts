/** Whether failure number `count`, from 1, is told: the 1st, 2nd, 4th, 8th …, so that nobody who causes them can flood. */
export function isTold(count: number): boolean {
  return (count & (count - 1)) === 0;
}
