/** The demo `virtqueue`: what it prints is what was in memory. */
import { expect, test } from "vitest";
import { runDemo } from "../support/demos.ts";

/** The lines from one heading to the next. */
function section(lines: readonly string[], heading: string): string[] {
  const start = lines.findIndex((line) => line.startsWith(heading));
  const rest = lines.slice(start + 2);
  const end = rest.indexOf("");
  return rest.slice(0, end < 0 ? rest.length : end);
}

/** The descriptors that a section shows, without their addresses. */
const descriptors = (lines: readonly string[]) =>
  lines.filter((line) => /^ +\d /.test(line)).map((line) => line.trim().split(/ {2,}/));

const UNUSED = (index: number) => [`${index}`, "0x0", "0", "0", "-", "unused"];

test("virtqueue shows one read request: built by the driver, then used by the device", async () => {
  const lines = await runDemo("virtqueue");
  const before = section(lines, "Before:");
  const during = section(lines, "During:");
  const after = section(lines, "After:");

  expect(descriptors(before)).toEqual([0, 1, 2, 3].map(UNUSED));
  expect(before).toContain("  flags 0  idx 0  ring []");

  const address = expect.stringMatching(/^0x1[0-9a-f]{3}$/);
  const chain = [
    ["0", address, "16", "NEXT", "1", "header"],
    ["1", address, "512", "NEXT+WRITE", "2", "data"],
    ["2", address, "1", "WRITE", "-", "status"],
    UNUSED(3),
  ];
  expect(descriptors(during)).toEqual(chain);
  expect(during.slice(-4)).toEqual([
    expect.stringMatching(/^used ring at 0x/),
    "  flags 0  idx 0  ring []",
    'status byte 0xff, data ""',
    expect.stringMatching(/so far: \d+\.$/),
  ]);
  expect(during).toContain("  flags 1  idx 1  ring [0]");

  // The device wrote the sector and the status byte: 513 bytes to the chain that begins at descriptor 0.
  expect(descriptors(after)).toEqual(chain);
  expect(after).toContain("  flags 0  idx 1  ring [{id 0, len 513}]");
  expect(after).toContain('status byte 0x00, data "This was sector 2; it came by a virtqueue."');
  expect(lines).toContain("The guest printed what it read: This was sector 2; it came by a virtqueue.");
});

test("virtqueue names the four layers and shows that the notification is not an exit", async () => {
  const lines = await runDemo("virtqueue");
  const layers = section(lines, "The four layers").map((line) => line.trim().split(/ {2,}/));
  expect(layers.map(([layer]) => layer)).toEqual(["front-end driver", "virtio", "virtio-ring", "back-end"]);
  expect(layers[1][2]).toContain(" 15 stores to registers");
  expect(layers[3][2]).toBe("1 request, 512 bytes read from a file");
  const soFar = lines.filter((line) => line.startsWith("Register accesses that made KVM_RUN return so far:"));
  expect(soFar.map((line) => Number(/\d+/.exec(line)))).toEqual([15, 15, 15]);
  expect(lines).toContain(
    "The driver notified the device between the second and the third stop. MMIO exits between them: 0.",
  );
});
