import type { Complain } from "../key-values.ts";
import type { Draft } from "./request.ts";

/** One option of `vmexit run`. */
export interface OptionRow {
  /** Without dashes; the first is the one that help shows. */
  readonly names: readonly string[];
  /** What follows it, as shown by help; an option without takes no value. */
  readonly argument?: string;
  /** A value that would do, for the message when there is none. */
  readonly example?: string;
  readonly help: string;
  /** Any text is a value, nothing and the name of an option too. */
  readonly anyText?: true;
  /** More lines of help. */
  readonly details?: readonly string[];
  apply(draft: Draft, value: string, typed: string, complain: Complain): void;
}
