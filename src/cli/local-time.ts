/** "2026-11-30 13:45:12", in the time zone of whoever reads it. */
export function localTime(date: Date): string {
  const day = [date.getFullYear(), twoDigits(date.getMonth() + 1), twoDigits(date.getDate())].join("-");
  return `${day} ${[date.getHours(), date.getMinutes(), date.getSeconds()].map(twoDigits).join(":")}`;
}

export function twoDigits(value: number): string {
  return String(value).padStart(2, "0");
}
