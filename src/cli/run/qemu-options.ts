/** What becomes of the options of QEMU that are not built: other-options.ts lists them. */
import { ACCEPTED, type AcceptedOption, REFUSED } from "./other-options.ts";

/** The sentence for an option of QEMU, without its dashes; undefined for any other word. */
export function refuseQemuOption(name: string): string | undefined {
  return REFUSED.find((option) => option.name === name)?.why;
}

/** The option of that name if it is accepted and changes nothing. */
export function acceptedQemuOption(name: string): AcceptedOption | undefined {
  return ACCEPTED.find((option) => option.name === name);
}

/**
 * The rows of the manual: what becomes of options that are not built.
 * @param built names of those that are
 */
export function qemuOptionRows(built: ReadonlySet<string>): { name: string; answer: string }[] {
  const refused = REFUSED.map(({ name, why }) => ({ name, answer: `refused: ${why}` }));
  const accepted = ACCEPTED.map(({ name, why }) => ({ name, answer: `accepted: ${why}` }));
  return [...accepted, ...refused]
    .filter(({ name }) => !built.has(name))
    .sort((a, b) => (a.name.toLowerCase() < b.name.toLowerCase() ? -1 : 1));
}
