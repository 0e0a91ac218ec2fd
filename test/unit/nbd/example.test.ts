/** examples/06-disk-from-http.ts, with qemu-io before it. Needs the build. */
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { client } from "../../support/nbd-peers.ts";

const EXAMPLE = fileURLToPath(new URL("../../../build/tools/examples/06-disk-from-http.js", import.meta.url));

test("a disk from an HTTP server is read where it is asked for, and written over in memory; so is one in a Buffer", async () => {
  const program = spawn(process.execPath, [EXAMPLE, "--serve"], { stdio: ["ignore", "pipe", "inherit"] });
  try {
    let said = "";
    for await (const text of program.stdout) {
      said += text;
      if (/buffer: .*\n/.test(said)) break;
    }
    const [http, buffer] = [...said.matchAll(/bytes at (\S+)/g)].map((match) => match[1]);
    const shown = await client("qemu-io", "-r", "-f", "raw", "-c", "read -v 65536 512", http);
    expect(shown.output).toContain("A.disk.that.an.H");
    // Across a block's end, into the middle of the next: around it, the server's bytes are still there.
    const io = ["write -P 7 64000 4096", "read -P 7 64000 4096", "read -v 63488 512", "read -v 68096 512"];
    const written = await client("qemu-io", "-f", "raw", ...io.flatMap((command) => ["-c", command]), http);
    expect(written.output).not.toMatch(/verification|fail/i);
    expect(written.output.match(/A\.disk\.that\.an\.H/g)?.length).toBe(32);
    const other = await client(
      "qemu-io",
      "-f",
      "raw",
      "-c",
      "write -P 3 0 1M",
      "-c",
      "read -P 3 0 1M",
      buffer,
    );
    expect(other.output).not.toMatch(/verification|fail/i);
  } finally {
    program.kill();
  }
});
