/** Failures of system calls, as a program and as a person sees them. */
import { expect, test } from "vitest";
import { check as checkKvm, KvmError } from "../../../src/kvm/errors.ts";
import { check, errnoName, SystemError } from "../../../src/sys/errors.ts";

function thrown(work: () => unknown): unknown {
  try {
    work();
  } catch (error) {
    return error;
  }
  return undefined;
}

test("a result that is not an error passes", () => {
  expect(check(0, "open", "opening x")).toBe(0);
  expect(checkKvm(5, "ioctl(KVM_RUN)", "running")).toBe(5);
});

test("an error says what was done, what failed and what to try", () => {
  const error = thrown(() => check(-2, "open", "opening disk.img"));
  expect(error).toBeInstanceOf(SystemError);
  expect(error).toMatchObject({
    name: "SystemError",
    code: "ENOENT",
    errno: -2,
    syscall: "open",
    message: "opening disk.img: open failed with ENOENT. There is no such file.",
  });
});

test("without permission on /dev/kvm the error names the command that mends it", () => {
  const error = thrown(() => checkKvm(-13, "open(/dev/kvm)", "opening KVM"));
  expect(error).toBeInstanceOf(KvmError);
  expect(String(error)).toBe(
    "KvmError: opening KVM: open(/dev/kvm) failed with EACCES. Add this user to the group that owns /dev/kvm: sudo usermod -aG kvm $USER",
  );
});

test("errors have their usual names, and unknown ones a number", () => {
  expect([-1, -9, -11, -16, -95, -4095].map(errnoName)).toEqual([
    "EPERM",
    "EBADF",
    "EAGAIN",
    "EBUSY",
    "EOPNOTSUPP",
    "errno 4095",
  ]);
});
