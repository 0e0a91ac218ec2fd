/** `-netdev user` as QEMU has it. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { parseRun } from "../../../../src/cli/run/command-line.ts";

const folder = mkdtempSync(join(tmpdir(), "vmexit-metadata-"));
afterAll(() => rmSync(folder, { recursive: true }));

function cards(...words: string[]) {
  const command = parseRun(["-kernel", "k", ...words]);
  if (command.action !== "run" || command.request.loadvm !== undefined) throw new Error("not a new machine");
  return command.request.vm.network;
}

test("the user network's keys, of which hostfwd, guestfwd and dnssearch may be repeated", () => {
  const typed =
    "user,id=n,net=192.168.7.0/24,restrict=on,hostfwd=tcp::2222-:22,hostfwd=udp::53-:53,dnssearch=a.example,ipv6=off";
  expect(cards("-netdev", typed, "-device", "virtio-net-device,netdev=n")).toEqual([
    expect.objectContaining({
      user: expect.objectContaining({
        net: "192.168.7.0/24",
        restrict: true,
        hostfwd: ["tcp::2222-:22", "udp::53-:53"],
        guestfwd: [],
        dnssearch: ["a.example"],
        ipv6: false,
      }),
    }),
  ]);
});

test("-nic user and -net nic -net user are the same card", () => {
  const user = expect.objectContaining({ hostfwd: [] });
  expect(cards("-nic", "user,model=virtio")).toEqual([expect.objectContaining({ user })]);
  expect(cards("-net", "nic,model=virtio", "-net", "user")).toEqual([expect.objectContaining({ user })]);
});

test("what is not built is refused, and says what to use", () => {
  expect(() => cards("-nic", "user,smb=/tmp")).toThrow("use hostfwd, or tftp");
  expect(() => cards("-nic", "user,ipv4=off")).toThrow("without IPv4");
});

test("metadata= is a file in JSON, which is checked", () => {
  const file = join(folder, "metadata.json");
  const written = (text: string) => {
    writeFileSync(file, text);
    return cards("-nic", `user,metadata=${file}`);
  };
  const metadata = expect.objectContaining({ instanceId: "i-1", publicKeys: ["ssh-ed25519 A me"] });
  expect(written('{"instanceId": "i-1", "publicKeys": ["ssh-ed25519 A me"]}')).toEqual([
    expect.objectContaining({ user: expect.objectContaining({ metadata }) }),
  ]);
  expect(written("{}")).toEqual([
    expect.objectContaining({ user: expect.objectContaining({ metadata: expect.anything() }) }),
  ]);
  expect(() => written("[]")).toThrow("an object in JSON");
  expect(() => written("{")).toThrow(`metadata=${file}`);
  expect(() => written('{"instance-id": "i-1"}')).toThrow('"instance-id" is not a key');
  expect(() => written('{"publicKeys": "ssh-ed25519 A me"}')).toThrow("a list of strings");
  expect(() => written('{"ec2": {"a": 1}}')).toThrow("ec2 has to be");
  expect(() => cards("-nic", "user,metadata=/nowhere.json")).toThrow("/nowhere.json");
});
