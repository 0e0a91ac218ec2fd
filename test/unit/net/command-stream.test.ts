/** A command that answers at an address of the guest's network. */
import { buffer, text } from "node:stream/consumers";
import { expect, test } from "vitest";
import { CommandStream } from "../../../src/net/user/command-stream.ts";

/** As a thread that had no turn: output and end of the command are there together. */
function beLate(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

test("a command that ends without reading its input loses no output, though its end is noticed first", async () => {
  const command = new CommandStream("printf hello");
  beLate(200);
  expect(await text(command)).toBe("hello");
});

test("input is passed on, also of many buffers, and its end is the command's", async () => {
  const command = new CommandStream("tr a-z A-Z");
  const sent = Buffer.alloc(4 << 20, "words ");
  command.end(sent);
  expect((await buffer(command)).equals(Buffer.alloc(4 << 20, "WORDS "))).toBe(true);
});

test("what is written to a command that no longer reads is lost, and ends nothing", async () => {
  const command = new CommandStream("exec <&-; sleep 0.3; printf late");
  const written = new Promise((resolve) => command.write(Buffer.alloc(1 << 20), resolve));
  expect(await text(command)).toBe("late");
  await written;
});

test("a command is ended with its stream", async () => {
  const command = new CommandStream("exec sleep 100");
  command.destroy();
  await new Promise((resolve) => command.once("close", resolve));
});
