import { expect, test } from "vitest";
import { AddressSpace } from "../../../src/bus/address-space.ts";
import * as abi from "../../../src/kvm/abi.ts";
import { INTERRUPTED } from "../../../src/kvm/exit.ts";
import type { Vcpu } from "../../../src/kvm/vcpu.ts";
import { serve } from "../../../src/threads/vcpu-loop.ts";

const REFUSED = abi.KVM_EXIT_INTERNAL_ERROR;

/** A vCPU whose next exits are these. Every internal error is KVM's refusal to emulate what delivers an event. */
function fakeVcpu(...exits: number[]) {
  const state = { entered: 0 };
  const vcpu = {
    run: () => exits[state.entered++],
    exit: {
      suberror: abi.KVM_INTERNAL_ERROR_DELIVERY_EV,
      instruction: new Uint8Array(),
      internalData: [],
      systemEvent: abi.KVM_SYSTEM_EVENT_SHUTDOWN,
    },
  };
  return { vcpu: vcpu as unknown as Vcpu, state };
}

function answer(vcpu: Vcpu) {
  return serve(
    vcpu,
    REFUSED,
    new AddressSpace("ports", new Float64Array(4)),
    new AddressSpace("memory", new Float64Array(4)),
  );
}

test("an access that KVM refuses to emulate while an event is delivered is tried again, and served", () => {
  const { vcpu, state } = fakeVcpu(REFUSED, REFUSED, abi.KVM_EXIT_SYSTEM_EVENT);
  expect(answer(vcpu)).toEqual({ reason: "poweroff" });
  expect(state.entered).toBe(3);
});

test("one that is refused again and again is a crash, and is not tried for ever", () => {
  const { vcpu, state } = fakeVcpu(...new Array(1000).fill(REFUSED));
  expect(answer(vcpu)).toMatchObject({
    reason: "crash",
    message: expect.stringMatching("an exit while an event was delivered"),
  });
  expect(state.entered).toBe(100);
});

test("a kick in place of another try leaves it to the loop", () => {
  expect(answer(fakeVcpu(INTERRUPTED).vcpu)).toBeUndefined();
});
