import type { Complain } from "../key-values.ts";
import type { Draft } from "./request.ts";

/** One option of `vmexit run`. */
export interface OptionRow {
  /** Without dashes; help shows all. */
  readonly names: readonly string[];
  /** What follows it, as help shows it; an option without an argument takes no value. */
  readonly argument?: string;
  /** A value that can be used, for the message when the value is missing. */
  readonly example?: string;
  readonly help: string;
  /** It is refused, whatever follows it. */
  readonly isRefused?: true;
  /** Any text is a value, also the empty one and the name of an option. */
  readonly anyText?: true;
  /** More rows of help: the parts of the value. */
  readonly values?: readonly HelpGroup[];
  apply(draft: Draft, value: string, typed: string, complain: Complain): void;
}

/** Rows of help: what is written, and what it does. */
export interface HelpGroup {
  readonly title?: string;
  readonly rows: readonly (readonly [left: string, text: string])[];
}
