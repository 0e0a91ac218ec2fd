import { Writable } from "node:stream";
import { expect, test } from "vitest";
import { type DemoShelf, demoCommand } from "../../../../src/cli/demo/demo.ts";

const shelf: DemoShelf = {
  list: async () => [
    { name: "hello", sentence: "a guest says hello" },
    { name: "broken", sentence: "a guest that cannot start" },
  ],
  run: async (name, out) => {
    if (name === "broken") throw new Error("no /dev/kvm");
    out("first");
    out("second");
  },
};

function sink() {
  let text = "";
  const stream = new Writable({
    write(chunk, _encoding, done) {
      text += String(chunk);
      done();
    },
  });
  return { stream, text: () => text };
}

async function demo(...argv: string[]) {
  const out = sink();
  const err = sink();
  const status = await demoCommand(argv, shelf, out.stream, err.stream);
  return { status, out: out.text(), err: err.text() };
}

test("without a name the demos are listed, with a sentence each", async () => {
  const { status, out, err } = await demo();
  expect([status, err]).toEqual([0, ""]);
  expect(out).toContain("  hello   a guest says hello\n  broken  a guest that cannot start\n");
  expect((await demo("--help")).out).toBe(out);
});

test("a demo's lines are printed as they come", async () => {
  expect(await demo("hello")).toEqual({ status: 0, out: "first\nsecond\n", err: "" });
});

test("an unknown demo gets the nearest name and the list, and status 2", async () => {
  const { status, out, err } = await demo("helo");
  expect([status, out]).toEqual([2, ""]);
  expect(err).toContain('vmexit demo: unknown demo "helo" (did you mean "hello"?)\n');
  expect(err).toContain("  hello   a guest says hello\n");
});

test("a word after the name is a mistake", async () => {
  const { status, out, err } = await demo("hello", "-v");
  expect([status, out]).toEqual([2, ""]);
  expect(err).toContain('"-v"');
});

test("a demo that fails says why, with status 1", async () => {
  expect(await demo("broken")).toEqual({ status: 1, out: "", err: "vmexit demo: no /dev/kvm\n" });
});

test("a reader that has seen enough ends the command, though the demo goes on", async () => {
  const closed = new Writable({
    write: (_chunk, _encoding, done) => done(Object.assign(new Error("write EPIPE"), { code: "EPIPE" })),
  });
  const endless: DemoShelf = {
    ...shelf,
    run: (_name, out) => {
      out("first");
      return new Promise(() => {});
    },
  };
  expect(await demoCommand(["hello"], endless, closed, sink().stream)).toBe(141);
});
