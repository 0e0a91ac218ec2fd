import { expect, test } from "vitest";
import { parseNumber, textToHex } from "../../../src/gdb/hex.ts";
import { MAX_PACKET } from "../../../src/gdb/packet.ts";
import { Session } from "../../../src/gdb/session.ts";
import { FakeDebugTarget, KERNEL, RAM_BYTES } from "../../support/fake-debug-target.ts";
import { random } from "../../support/random.ts";

function connected(prepare: (target: FakeDebugTarget) => void = () => {}) {
  const target = new FakeDebugTarget();
  prepare(target);
  const sent: string[] = [];
  const state = { ended: false, acknowledges: true };
  const session = new Session(target, {
    send: (body) => sent.push(body),
    stopAcknowledging: () => {
      state.acknowledges = false;
    },
    end: () => {
      state.ended = true;
    },
  });
  const ask = async (body: string) => {
    sent.length = 0;
    await session.receive(body);
    return sent.length > 1 ? sent : sent[0];
  };
  return { target, session, sent, state, ask };
}

const at = (offset: number) => (KERNEL + BigInt(offset)).toString(16);
const db = (dr6: bigint, vcpu = 0) => ({ vcpu, exception: 1, pc: KERNEL, dr6 });
const bp = (offset: number, vcpu = 0) => ({ vcpu, exception: 3, pc: KERNEL + BigInt(offset), dr6: 0n });
const settle = () => new Promise((resolve) => setImmediate(resolve));

test("gdb gets answers to known packets, and empty ones to the rest", async () => {
  const { ask, state } = connected();
  expect(await ask("qSupported:multiprocess+;swbreak+")).toMatch(/^PacketSize=4000;.*qXfer:features:read\+/);
  expect(await ask("vMustReplyEmpty")).toBe("");
  expect(await ask("vCont?")).toBe("vCont;c;C;s;S");
  expect(await ask("qAttached")).toBe("1");
  expect(await ask("QStartNoAckMode")).toBe("OK");
  expect(state.acknowledges).toBe(false);
  for (const unknown of ["!", "b", "qTStatus", "vKill;1", "QNonStop:1", "\x80", "i"]) {
    expect(await ask(unknown), unknown).toBe("");
  }
});

test("each CPU is a thread", async () => {
  const { ask, target } = connected();
  expect(await ask("?")).toBe("T05thread:1;");
  expect(await ask("qfThreadInfo")).toBe("m1,2");
  expect(await ask("qsThreadInfo")).toBe("l");
  expect(await ask("qThreadExtraInfo,2")).toBe(textToHex("CPU 1 (halted)"));
  expect(await ask("T2")).toBe("OK");
  expect(await ask("T3")).toBe("E16");
  target.states[1] = { ...target.states[1], general: { ...target.states[1].general, rax: 7n } };
  expect(await ask("Hg2")).toBe("OK");
  expect(await ask("p0")).toBe("0700000000000000");
  expect(await ask("qC")).toBe("QC2");
  expect(await ask("Hg3")).toBe("E16");
});

test("the description is read in pieces, whose last says so", async () => {
  const { ask } = connected();
  let xml = "";
  for (let part = "m"; part[0] === "m"; xml += part.slice(1)) {
    part = String(await ask(`qXfer:features:read:target.xml:${xml.length.toString(16)},400`));
    expect(part).toMatch(/^[ml]/);
  }
  expect(xml).toMatch(/^<\?xml[\s\S]*<\/target>\n$/);
  expect(await ask("qXfer:features:read:other.xml:0,400")).toBe("E00");
  expect(await ask("qXfer:features:read:target.xml:fffffff,400")).toBe("l");
});

test("registers are written one by one and all together", async () => {
  const { ask, target } = connected();
  expect(await ask("P0=8877665544332211")).toBe("OK");
  expect(target.states[0].general.rax).toBe(0x1122_3344_5566_7788n);
  const all = String(await ask("g"));
  expect(await ask(`G00${all.slice(2)}`)).toBe("OK");
  expect(target.states[0].general.rax).toBe(0x1122_3344_5566_7700n);
  for (const bad of ["P0=11", "P", "Pzz=00", "P999=00", "G00", "p", "pzz", "p999"]) {
    expect(await ask(bad), bad).toBe("E16");
  }
});

test("memory is read and written through the page tables, across pages", async () => {
  const { ask, target } = connected();
  expect(await ask(`M${at(0xffe)},4:01020304`)).toBe("OK");
  expect([...target.ram.subarray(0xffe, 0x1002)]).toEqual([1, 2, 3, 4]);
  expect(await ask(`m${at(0xffd)},6`)).toBe("000102030400");
  expect(await ask(`X${at(0)},2:\x00\xff`)).toBe("OK");
  expect([...target.ram.subarray(0, 2)]).toEqual([0, 0xff]);
  expect(await ask(`X${at(0)},0:`)).toBe("OK");
});

test("memory that is not mapped, or is not RAM, is an error; the part before it is read", async () => {
  const { ask, target } = connected();
  expect(await ask("m0,4")).toBe("E0e");
  expect(await ask(`m${at(RAM_BYTES - 2)},10`)).toBe("0000");
  expect(await ask(`m${at(RAM_BYTES)},1`)).toBe("E0e"); // mapped, but a device
  expect(await ask(`M${at(RAM_BYTES - 1)},2:0102`)).toBe("E0e");
  expect(target.ram[RAM_BYTES - 1]).toBe(0); // nothing of it was written
  expect(await ask("mffffffffffffffff,2")).toBe("E0e");
  for (const bad of [
    "m",
    "m10",
    "m10,",
    "m1,2,3",
    "m-1,2",
    `m${"f".repeat(17)},1`,
    "M0,1",
    "M0,2:00",
    "M0,1:0",
  ]) {
    expect(await ask(bad), bad).toBe("E16");
  }
  expect(String(await ask(`m${at(0)},fffffffff`)).length).toBeLessThanOrEqual(MAX_PACKET);
});

test("continue and step run the CPUs that they name, and the answer comes when one stops", async () => {
  const { ask, target, sent } = connected();
  expect(await ask("vCont;s:2")).toBeUndefined();
  expect(target.runs).toEqual([[1]]);
  expect(target.debug[1]).toMatchObject({ singleStep: true, blockInterrupts: true });
  target.listener?.stopped(db(0x4000n, 1));
  expect(sent).toEqual(["T05thread:2;"]);
  expect(await ask("?")).toBe("T05thread:2;");
  await ask("vCont;c");
  expect(target.runs.at(-1)).toEqual([0, 1]);
  expect(target.debug[1]).toMatchObject({ singleStep: false });
  expect(await ask("vCont;c")).toBe("E10"); // runs already
  target.listener?.stopped(db(0n));
  await settle();
  expect(target.debug[0]).toMatchObject({ inject: "debug" }); // nobody steps: it is the guest's own
});

test("c and s at an address set pc first", async () => {
  const { ask, target } = connected();
  await ask("s1234");
  expect(target.states[0].general.rip).toBe(0x1234n);
  expect(target.debug.map(({ singleStep }) => singleStep)).toEqual([true, false]);
  expect(await connected().ask("czz")).toBe("E16");
});

test("Ctrl-C stops a guest that runs, and is nothing to one that stands", async () => {
  const { ask, target, session, sent } = connected();
  await session.interrupt();
  expect(target.pauses).toBe(0);
  await ask("vCont;c");
  await session.interrupt();
  expect(sent).toEqual(["T02thread:1;"]);
});

test("a software breakpoint is an INT3 that gdb does not see, and the guest's own byte comes back", async () => {
  const { ask, target, sent } = connected();
  target.ram.set([0x55, 0x48, 0x89], 0x100);
  expect(await ask(`Z0,${at(0x100)},1`)).toBe("OK");
  expect(await ask(`Z0,${at(0x100)},1`)).toBe("OK");
  expect([...target.ram.subarray(0x100, 0x103)]).toEqual([0xcc, 0x48, 0x89]);
  expect(await ask(`m${at(0xff)},4`)).toBe("00554889");
  await ask(`M${at(0x100)},2:9090`); // new code under the breakpoint
  expect(target.ram[0x100]).toBe(0xcc);
  await ask("vCont;c");
  expect(target.debug[1].softwareBreakpoints).toBe(true);
  target.listener?.stopped(bp(0x100, 1));
  expect(sent).toEqual(["T05thread:2;swbreak:;"]);
  expect(await ask(`z0,${at(0x100)},1`)).toBe("OK");
  expect([...target.ram.subarray(0x100, 0x102)]).toEqual([0x90, 0x90]);
  expect(await ask("Z0,0,1")).toBe("E0e");
});

test("where KVM does not stop at INT3, a debug register serves; where it does neither, gdb gets an error", async () => {
  const { ask, target, sent } = connected();
  target.abilities = { int3: false, breakpoints: true, watchpoints: false };
  expect(await ask(`Z0,${at(0x100)},1`)).toBe("OK");
  expect(target.ram[0x100]).toBe(0);
  await ask("vCont;c");
  expect(target.debug[0].hardware?.addresses[0]).toBe(KERNEL + 0x100n);
  sent.length = 0;
  target.listener?.stopped(db(1n));
  expect(sent).toEqual(["T05thread:1;hwbreak:;"]);
  expect(await ask(`z0,${at(0x100)},1`)).toBe("OK");
  await ask("vCont;c");
  expect(target.debug[0].hardware).toBeUndefined();
  expect(await connected().ask(`Z2,${at(0)},4`)).toBe("OK");
  expect(await ask(`Z2,${at(0)},4`)).toMatch(/^E\.this host's KVM does not stop/);
  target.abilities = { int3: false, breakpoints: false, watchpoints: false };
  expect(await ask(`Z0,${at(0x100)},1`)).toMatch(/^E\./);
  expect(await ask(`Z1,${at(0x100)},1`)).toMatch(/^E\./);
});

test("an INT3 of the guest's own is given to it", async () => {
  const { ask, target, sent } = connected();
  await ask(`Z0,${at(0x100)},1`);
  await ask("vCont;c:2");
  sent.length = 0;
  target.listener?.stopped(bp(0x200, 1));
  await settle();
  expect(sent).toEqual([]);
  expect(target.debug[1]).toMatchObject({ inject: "breakpoint", softwareBreakpoints: true });
  expect(target.runs).toEqual([[1], [1]]);
});

test("a breakpoint at an address from before paging was on is recognised, and told as a plain trap", async () => {
  const { ask, target, sent } = connected();
  const { translate } = target;
  target.translate = (cpu, linear) => (linear < 0x10000n ? Number(linear) : translate(cpu, linear));
  expect(await ask("Z0,100,1")).toBe("OK");
  await ask("vCont;c");
  sent.length = 0;
  target.listener?.stopped(bp(0x100));
  expect(sent).toEqual(["T05thread:1;"]);
});

test("what the guest wrote over a breakpoint stays, and after a reset nothing is put back", async () => {
  const { ask, target } = connected();
  await ask(`Z0,${at(0x100)},1`);
  target.ram[0x100] = 0x12;
  await ask(`z0,${at(0x100)},1`);
  expect(target.ram[0x100]).toBe(0x12);
  target.ram[0x200] = 0x55;
  await ask(`Z0,${at(0x200)},1`);
  target.listener?.reset();
  target.ram[0x200] = 0xcc; // the new kernel's own
  expect(await ask(`z0,${at(0x200)},1`)).toBe("OK");
  expect(target.ram[0x200]).toBe(0xcc);
});

test("hardware breakpoints and watchpoints are in every CPU, and say which was met", async () => {
  const { ask, target, sent } = connected();
  expect(await ask(`Z1,${at(0)},1`)).toBe("OK");
  expect(await ask(`Z2,${at(0x10)},8`)).toBe("OK");
  expect(await ask(`Z3,${at(0x20)},4`)).toBe(""); // no CPU can: gdb takes Z4 then
  expect(await ask(`Z4,${at(0x20)},4`)).toBe("OK");
  await ask("vCont;c");
  expect(target.debug[0].hardware).toEqual(target.debug[1].hardware);
  target.listener?.stopped(db(4n, 1));
  expect(sent).toEqual([`T05thread:2;awatch:${at(0x20)};`]);
  await ask("vCont;c");
  sent.length = 0;
  target.listener?.stopped(db(1n));
  expect(sent).toEqual(["T05thread:1;hwbreak:;"]);
  expect(await ask(`Z1,${at(1)},1`)).toBe("OK");
  expect(await ask(`Z1,${at(2)},1`)).toBe("E1c"); // the fifth
  for (const point of [`z1,${at(0)},1`, `z2,${at(0x10)},8`, `z4,${at(0x20)},4`, `z1,${at(1)},1`])
    await ask(point);
  await ask("vCont;c");
  expect(target.debug[0].hardware).toBeUndefined();
  for (const bad of ["Z9,0,1", "Z", "Z1", "Z1,zz,1", "Z2,0,zz"])
    expect(await connected().ask(bad)).toMatch(/^(E16)?$/);
});

test("a watchpoint that a second CPU met meanwhile is reported by the next continue; a breakpoint will be met again", async () => {
  const { ask, target, sent } = connected();
  await ask(`Z2,${at(0x10)},8`);
  await ask(`Z1,${at(0)},1`);
  await ask("vCont;c");
  target.listener?.stopped(db(1n, 0));
  expect(sent).toEqual([`T05thread:1;watch:${at(0x10)};`]);
  target.listener?.stopped(db(1n, 1));
  target.listener?.stopped(db(2n, 1));
  expect(sent).toHaveLength(1);
  expect(await ask("vCont;c")).toBe(`T05thread:2;watch:${at(0x10)};`);
  expect(target.runs).toHaveLength(1);
  expect(await ask("vCont;c")).toBeUndefined();
  expect(target.runs).toHaveLength(2);
});

test("detach takes the breakpoints out and lets the guest go on; so does a connection that is lost while it runs", async () => {
  const { ask, target, state } = connected();
  await ask(`Z0,${at(0x100)},1`);
  await ask(`Z1,${at(0)},1`);
  expect(await ask("D")).toBe("OK");
  expect(state.ended).toBe(true);
  expect(target.ram[0x100]).toBe(0);
  expect(target.debug).toEqual([{}, {}]);
  expect(target.runs).toEqual([[0, 1]]);
  const lost = connected();
  await lost.ask("vCont;c:1");
  await lost.session.close(false);
  expect(lost.target.pauses).toBe(1);
  expect(lost.target.runs.at(-1)).toEqual([0, 1]);
});

test("a connection that is lost while the guest stands leaves it standing", async () => {
  const { session, target } = connected();
  await session.close(false);
  expect(target.runs).toEqual([]);
});

test("the guest's end is reported to a waiting gdb: a status, or why it crashed", async () => {
  const off = connected();
  await off.ask("vCont;c");
  off.target.listener?.ended({ reason: "exit", status: 33 });
  expect(off.sent).toEqual(["W21"]);
  const crashed = connected();
  await crashed.ask("vCont;c");
  crashed.target.listener?.ended({ reason: "crash", message: "triple fault" });
  expect(crashed.sent).toEqual([`O${textToHex("triple fault\n")}`, "X06"]);
  const standing = connected();
  standing.target.listener?.ended({ reason: "stopped" });
  expect(standing.sent).toEqual([]);
  expect([off, crashed, standing].map(({ state }) => state.ended)).toEqual([true, true, true]);
});

test("k ends the machine, and monitor commands reach it", async () => {
  const { ask, target } = connected();
  expect(await ask(`qRcmd,${textToHex("reset")}`)).toBe(textToHex("did reset\n"));
  expect(await ask("qRcmd,zz")).toBe("E16");
  await ask("k");
  expect(target.killed).toBe(true);
});

test("a machine that refuses is an error for gdb, not the end of the connection", async () => {
  const { ask } = connected((target) => {
    target.registers = () => {
      throw new Error("it runs");
    };
  });
  expect(await ask("g")).toBe("E.it runs");
});

test("packets of nonsense get an answer or none, and change no memory outside of RAM", async () => {
  const { ask, target, session } = connected();
  const draw = random(11);
  const next = () => Math.floor(draw() * 2 ** 31);
  const letters = "?gGpPmMXZzHTcsCSDqQv";
  const alphabet = "0123456789abcdef,:;=-.zc\x00\xff";
  for (let turn = 0; turn < 5000; turn++) {
    const length = next() % 24;
    const rest = Array.from({ length }, () => alphabet[next() % alphabet.length]).join("");
    const letter = letters[next() % letters.length];
    if (letter === "D") continue;
    await ask(letter + rest);
    if (turn % 7 === 0) target.listener?.stopped(db(0x4000n));
    if (turn % 11 === 0) await session.interrupt();
  }
  expect(target.ram).toHaveLength(RAM_BYTES);
  await session.interrupt();
  expect(await ask("qC")).toMatch(/^QC[12]$/);
  expect(parseNumber("zz")).toBeUndefined();
});
