/** Views of guest RAM in a thread that does not close them. */
import { expect, test } from "vitest";
import { AddonThread } from "../../support/addon-thread.ts";

const MIB = 2 ** 20;

test("a thread that ends with views of guest RAM does not end the process (under Node 24 and 26 it did)", async () => {
  const thread = new AddonThread(
    `const ram = new native.GuestRam();
     if (ram.create(64 * ${MIB}, 0) !== 0) throw new Error("no RAM");
     const views = [0, 1, 2, 3].map((n) => ram.view(n * 16 * ${MIB}, 16 * ${MIB}));
     post(views.map((view) => view.byteLength / ${MIB}));`,
    undefined,
  );
  expect(await thread.message()).toEqual([16, 16, 16, 16]);
  await thread.end();
});
