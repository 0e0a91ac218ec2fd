/** Both ends of a connection inside the process. */
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { expect, test } from "vitest";
import { linkedPair } from "../../../src/net/user/linked-pair.ts";

test("both directions end by themselves", async () => {
  const [one, other] = linkedPair();
  one.end("from one");
  other.end("from the other");
  expect(await Promise.all([text(one), text(other)])).toEqual(["from the other", "from one"]);
});

test("an end that closes takes the other one with it", async () => {
  const [one, other] = linkedPair();
  one.destroy();
  await once(other, "close");
  await expect(text(other)).rejects.toThrow();
});

test("what was sent before an end can be read after its sender has closed; then the other end closes too", async () => {
  const [one, other] = linkedPair();
  one.end("all of it");
  one.destroy();
  await once(one, "close");
  expect(other.destroyed).toBe(false);
  const closed = once(other, "close");
  expect(await text(other)).toBe("all of it");
  await closed;
});
