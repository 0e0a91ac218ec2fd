import { expect, test } from "vitest";
import { EscapeFilter, KEYS_HELP } from "../../../../src/cli/run/escape-filter.ts";

function type(...chunks: string[]) {
  const filter = new EscapeFilter();
  let guest = "";
  const keys: object[] = [];
  for (const chunk of chunks) {
    const taken = filter.take(Buffer.from(chunk, "latin1"));
    guest += Buffer.from(taken.forGuest).toString("latin1");
    keys.push(...taken.keys);
  }
  return { guest, keys };
}

test("what is typed goes to the guest as it is, control characters too", () => {
  const bytes = String.fromCharCode(...Array.from({ length: 256 }, (_, byte) => byte)).replace("\x01", "");
  expect(type(bytes)).toEqual({ guest: bytes, keys: [] });
});

test("Ctrl-A x quits, Ctrl-A r resumes, Ctrl-A s saves, Ctrl-A h helps", () => {
  expect(type("\x01s")).toEqual({ guest: "", keys: [{ kind: "save" }] });
  expect(type("\x01r")).toEqual({ guest: "", keys: [{ kind: "resume" }] });
  expect(type("ab\x01xcd")).toEqual({ guest: "abcd", keys: [{ kind: "quit" }] });
  expect(type("\x01h\x01?")).toEqual({ guest: "", keys: [{ kind: "help" }, { kind: "help" }] });
});

test("Ctrl-A typed twice reaches the guest once; so does Ctrl-A a", () => {
  expect(type("\x01\x01")).toEqual({ guest: "\x01", keys: [] });
  expect(type("\x01a")).toEqual({ guest: "\x01", keys: [] });
  expect(type("\x01\x01x")).toEqual({ guest: "\x01x", keys: [] });
});

test("the two keys may come in two reads", () => {
  expect(type("\x01", "x")).toEqual({ guest: "", keys: [{ kind: "quit" }] });
  expect(type("\x01", "", "\x01", "x")).toEqual({ guest: "\x01x", keys: [] });
});

test("another key after Ctrl-A goes nowhere and is named", () => {
  expect(type("\x01cz")).toEqual({ guest: "z", keys: [{ kind: "unknown", byte: 0x63 }] });
});

test("help lists the keys that work", () => {
  for (const key of ["Ctrl-A x", "Ctrl-A r", "Ctrl-A s", "Ctrl-A h", "Ctrl-A Ctrl-A", "Ctrl-A a"])
    expect(KEYS_HELP).toContain(key);
});
