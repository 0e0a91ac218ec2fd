/** What becomes of the options of QEMU that are not built: other-options.ts lists them. */
import { ACCEPTED, type OtherOption, REFUSED } from "./other-options.ts";

/** The option of that name if it is one of QEMU's that is not built. */
export function refusedQemuOption(name: string): OtherOption | undefined {
  return REFUSED.find((option) => option.name === name);
}

/** The option of that name if it is accepted and changes nothing. */
export function acceptedQemuOption(name: string): OtherOption | undefined {
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
