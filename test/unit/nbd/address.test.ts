/** Names of exports: the NBD URI specification's own examples, QEMU's older names, and what is none. */
import { expect, test } from "vitest";
import { isNbdName, parseNbdName } from "../../../src/nbd/address.ts";

const tcp = { host: "example.com", port: 10809, tls: false };

test.each([
  ["nbd://example.com/disk", { ...tcp, exportName: "disk" }],
  ["nbd://example.com/", { ...tcp, exportName: "" }],
  ["nbd://example.com", { ...tcp, exportName: "" }],
  ["nbd://example.com//disk", { ...tcp, exportName: "/disk" }],
  ["nbd://example.com/hello%20world", { ...tcp, exportName: "hello world" }],
  ["nbd://example.com/a/../b", { ...tcp, exportName: "a/../b" }],
  ["nbd://example.com:99/x", { ...tcp, port: 99, exportName: "x" }],
  ["nbds://example.com/x", { ...tcp, tls: true, exportName: "x" }],
  ["nbd://[::1]/x", { ...tcp, host: "::1", exportName: "x" }],
  ["nbd:///x", { ...tcp, host: "localhost", exportName: "x" }],
  ["nbd+unix:///disk?socket=nbd.sock", { path: "nbd.sock", tls: false, exportName: "disk" }],
  ["nbd+unix:///?socket=/a%20b/c+d", { path: "/a b/c+d", tls: false, exportName: "" }],
  ["nbd+unix:///?socket=%00/abstract", { path: "\0/abstract", tls: false, exportName: "" }],
  [
    "nbds+unix:///x?socket=/s&tls-hostname=h&tls-verify-peer=0&tls-certificates=/pki",
    { path: "/s", tls: true, exportName: "x", tlsHostname: "h", verifyPeer: false, certificates: "/pki" },
  ],
  ["nbd:example.com:10809", { ...tcp, exportName: "" }],
  ["nbd:example.com:10809:exportname=a:b", { ...tcp, exportName: "a:b" }],
  ["nbd:[::1]:10809:exportname=x", { ...tcp, host: "::1", exportName: "x" }],
  ["nbd:unix:/run/a:b", { path: "/run/a:b", tls: false, exportName: "" }],
  ["nbd:unix:/run/s:exportname=x", { path: "/run/s", tls: false, exportName: "x" }],
])("%s", (name, address) => {
  expect(isNbdName(name)).toBe(true);
  expect(parseNbdName(name)).toEqual(address);
});

test.each([
  ["nbd+unix:///x", "a unix socket's name is missing"],
  ["nbd://h/x?socket=/s", "socket= goes with nbd+unix://"],
  ["nbd://h/x?sokcet=/s", 'unknown parameter "sokcet"'],
  ["nbd+ssh://h/x", "nbd+ssh"],
  ["nbds://h/?tls-type=psk", "only x509 is"],
  ["nbds://h/?tls-verify-peer=yes", "must be 0 or 1"],
  ["nbd://h/%ff", "not UTF-8"],
  ["nbd://h/%00", "none of them zero"],
  [`nbd://h/${"x".repeat(5000)}`, "at most 4096 bytes"],
  ["nbd://h:0/", "from 1 to 65535"],
  ["nbd://h:99999/", "not a URI"],
  ["nbd:h", "not a name"],
  ["nbd:h:99999", "not a name"],
])("%s is refused", (name, why) => {
  expect(() => parseNbdName(name)).toThrow(why);
});

test.each(["disk.raw", "./nbd:x", "/nbd://x", "nbdx://h", "snbd://h"])("%s is a file", (name) => {
  expect(isNbdName(name)).toBe(false);
});
