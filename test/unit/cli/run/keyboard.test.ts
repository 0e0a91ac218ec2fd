import { EventEmitter } from "node:events";
import { expect, test } from "vitest";
import { Keyboard } from "../../../../src/cli/run/keyboard.ts";

/** Standard input on a terminal, or on a pipe. */
class FakeInput extends EventEmitter {
  readonly modes: boolean[] = [];
  readonly isTTY: boolean;
  #paused = false;

  constructor(isTTY: boolean) {
    super();
    this.isTTY = isTTY;
  }

  setRawMode(raw: boolean): void {
    this.modes.push(raw);
  }
  pause(): this {
    this.#paused = true;
    return this;
  }
  resume(): this {
    this.#paused = false;
    return this;
  }
  isPaused(): boolean {
    return this.#paused;
  }
  type(text: string): void {
    this.emit("data", Buffer.from(text));
  }
}

/** A guest's serial port; `full` as long as the guest reads nothing. */
class FakePort extends EventEmitter {
  received = "";
  full = false;

  write(bytes: Uint8Array): boolean {
    this.received += Buffer.from(bytes).toString();
    return !this.full;
  }
  get writableLength(): number {
    return this.full ? this.received.length : 0;
  }
}

function connected(isTTY: boolean) {
  const input = new FakeInput(isTTY);
  const port = new FakePort();
  const seen = { notices: "", quits: 0, resumes: 0 };
  const keyboard = new Keyboard(input, (text) => {
    seen.notices += text;
  });
  keyboard.connect(port, (key) => {
    if (key === "quit") seen.quits++;
    else seen.resumes++;
  });
  return { input, port, keyboard, seen };
}

test("on a terminal, keys go to the guest and Ctrl-A x to the command", () => {
  const { input, port, keyboard, seen } = connected(true);
  expect(input.modes).toEqual([true]);
  input.type("ls\r\x01x");
  expect(port.received).toBe("ls\r");
  expect(seen.quits).toBe(1);
  keyboard.close();
});

test("help names the keys, and a key without meaning is named too", () => {
  const { input, keyboard, seen } = connected(true);
  input.type("\x01h");
  expect(seen.notices).toContain("Ctrl-A x");
  input.type("\x01c\x01\x03");
  expect(seen.notices).toContain("Ctrl-A c does nothing");
  expect(seen.notices).toContain("Ctrl-A Ctrl-C does nothing");
  keyboard.close();
});

test("from a pipe, Ctrl-A is a byte like any other and no terminal is touched", () => {
  const { input, port, keyboard, seen } = connected(false);
  input.type("a\x01xb");
  expect(port.received).toBe("a\x01xb");
  expect(seen.quits).toBe(0);
  expect(input.modes).toEqual([]);
  keyboard.close();
});

test("a pipe waits for a guest that does not read", () => {
  const { input, port, keyboard } = connected(false);
  port.full = true;
  input.type("x");
  expect(input.isPaused()).toBe(true);
  port.full = false;
  port.emit("drain");
  expect(input.isPaused()).toBe(false);
  keyboard.close();
});

test("Ctrl-A x works though the guest reads nothing, and what is typed ahead has a limit", () => {
  const { input, port, keyboard, seen } = connected(true);
  port.full = true;
  input.type("hello");
  expect(input.isPaused()).toBe(false);
  input.type("\x01x");
  expect(seen.quits).toBe(1);
  input.type("y".repeat(1 << 20));
  expect(input.isPaused()).toBe(true);
  keyboard.close();
});

test("the terminal is restored once, at the end", () => {
  const { input, keyboard, port } = connected(true);
  const listeners = process.listenerCount("exit");
  keyboard.close();
  expect(input.modes).toEqual([true, false]);
  expect(input.isPaused()).toBe(true);
  expect(process.listenerCount("exit")).toBe(listeners - 1);
  input.type("for the shell");
  expect(port.received).toBe("");
});

test("the terminal is restored by a process that ends without closing the keyboard", () => {
  const before = new Set(process.listeners("exit"));
  const { input, keyboard } = connected(true);
  for (const listener of process.listeners("exit")) if (!before.has(listener)) listener.call(process, 1);
  expect(input.modes).toEqual([true, false]);
  keyboard.close();
});

test("after the shell had the terminal, it is raw again", () => {
  const { input, keyboard } = connected(true);
  process.emit("SIGCONT");
  expect(input.modes.at(-1)).toBe(true);
  expect(input.modes).toContain(false); // Node leaves out a change to the mode that it remembers
  keyboard.close();
});

test("a keyboard closed before the machine was ready leaves the terminal alone", () => {
  const input = new FakeInput(true);
  const keyboard = new Keyboard(input, () => {});
  keyboard.close();
  keyboard.connect(new FakePort(), () => {});
  expect(input.modes).not.toContain(true);
});

test("a terminal that hangs up does not end the guest", () => {
  const { input, keyboard } = connected(true);
  expect(() => input.emit("error", Object.assign(new Error("read EIO"), { code: "EIO" }))).not.toThrow();
  keyboard.close();
});
