/** What of a machine's options a snapshot keeps, and what may come from one. */
import { expect, test } from "vitest";
import { packFwCfg } from "../../../src/boot/fw-cfg.ts";
import { readSavedOptions, savedOptions } from "../../../src/vm/saved-options.ts";
import { checkOptions } from "../../../src/vm/validate.ts";

const packed = packFwCfg({ items: new Map(), files: new Map([["opt/a", Uint8Array.of(1, 2, 3)]]) });
const read = (options: Readonly<Record<string, unknown>>) =>
  readSavedOptions({
    path: "snap",
    manifest: { options },
    state: { memory: (name) => (name === "fw-cfg" ? packed : undefined) },
  });

test("what the guest can see comes back, with its files", () => {
  const given = {
    ...{ machine: "pc", memory: "16M", bootOrder: "dc", uuid: "c7d7ad2c-6e4b-4d5f-9d0a-3f2f1d1c0a5e" },
    smbios: [{ type: 1, serial: "42" }],
    fwCfg: [{ name: "opt/a", file: Uint8Array.of(1, 2, 3) }],
    scsi: [{ id: "s0" }],
    rng: true,
  } as const;
  const saved = JSON.parse(JSON.stringify(savedOptions(checkOptions(given))));
  expect(saved.fwCfg).toEqual(["opt/a"]);
  const back = checkOptions(read(saved));
  expect(back).toMatchObject({ ...given, memory: 16 << 20, scsi: [{ id: "s0" }], rng: {} });
});

test("the kernel's vsock is a choice of whoever restores", () => {
  const saved = savedOptions(checkOptions({ kernel: "k", vsock: { cid: 5, vhost: true } }));
  expect(saved.vsock).toMatchObject({ cid: 5 });
  expect(saved.vsock).not.toHaveProperty("vhost");
});

test("a network of the host is not kept", () => {
  const saved = savedOptions(checkOptions({ machine: "pc", network: [{ tap: "tap0" }], drives: [] }));
  expect(Object.keys(saved)).not.toContain("network");
});

test.each([
  [{ drives: [{ file: "/etc/hostname", readOnly: true }] }, "options.drives is not kept in a snapshot"],
  [{ network: [{ tap: "tap0" }] }, "options.network is not kept in a snapshot"],
  [{ kernel: "/etc/hostname" }, "options.kernel is not kept in a snapshot"],
  [{ initrd: "/etc/hostname" }, "options.initrd is not kept in a snapshot"],
  [{ firmware: "/etc/hostname" }, "options.firmware is not kept in a snapshot"],
  [{ flash: [{ file: "/etc/hostname" }] }, "options.flash is not kept in a snapshot"],
  [{ vsock: { cid: 3, vhost: true } }, "options.vsock.vhost is not kept in a snapshot"],
  [{ vsock: { cid: 3, vhostFd: 0 } }, "options.vsock.vhostFd is not kept in a snapshot"],
  [{ memoryBacking: "/tmp" }, "options.memoryBacking is not kept in a snapshot"],
  [{ fwCfg: ["opt/b"] }, 'names "opt/b", which is not in the snapshot'],
  [{ fwCfg: [{ name: "opt/a", file: "/etc/hostname" }] }, "which is not in the snapshot"],
  [{ fwCfg: "opt/a" }, "options.fwCfg is not a list"],
])("a snapshot with %o is refused: no file or interface of the host is opened for it", (options, message) => {
  expect(() => read(options)).toThrow(message);
});

test("a file that SMBIOS fields name is not read for a snapshot", () => {
  expect(() => read({ machine: "pc", smbios: [{ type: 11, path: "/etc/hostname" }] })).toThrow("path");
});
