import { expect, test } from "vitest";
import { BOARD_NAMES, BOARDS } from "../../../src/config/boards.ts";
import { loadBoard } from "../../../src/machine/load-board.ts";
import { VIRTIO_IRQS } from "../../../src/machine/memory-map.ts";

test.each(BOARD_NAMES)("there is a board %s, of that name", async (name) => {
  expect((await loadBoard(name, [])).name).toBe(name);
});

test("a microvm has an interrupt line for each virtio device", () => {
  expect(BOARDS.microvm.virtioDevices).toBe(VIRTIO_IRQS.length);
});
