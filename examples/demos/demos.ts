/**
 * The demos, in the order in which to read them. Each is NAME.ts, which exports
 * `demo`, with its guest in NAME.s beside it (NAME-part.s where there are
 * several) and its pages in docs/demos/.
 */

/** Takes one line of a demo's text. */
export type Out = (line: string) => void;

/** What NAME.ts exports as `demo`: runs to its end and returns. */
export type Demo = (out: Out) => Promise<void>;

export interface DemoEntry {
  readonly name: string;
  /** What there is to see, in one sentence. */
  readonly sentence: string;
}

export const DEMOS: readonly DemoEntry[] = [
  { name: "hello", sentence: "a real-mode guest of seven instructions says hello, one exit a character" },
];
