/**
 * /dev/kvm: what KVM can do on this machine, and new VMs.
 *
 * Source: Linux Documentation/virt/kvm/api.rst, section 4, "Type: system ioctl".
 */
import { type NativeKvmSystem, native } from "../sys/native.ts";
import { type CapabilityName, capabilityNumber } from "./capabilities.ts";
import { type CpuidEntry, cpuidWords, readCpuid } from "./cpuid.ts";
import { check } from "./errors.ts";
import { type MsrEntry, readMsrs, writeMsrs } from "./msr.ts";
import { Vm } from "./vm.ts";

const DEVICE = "/dev/kvm";

export class Kvm {
  /** Of the device. */
  readonly path: string;
  readonly #native: NativeKvmSystem;

  private constructor(path: string, handle: NativeKvmSystem) {
    this.path = path;
    this.#native = handle;
  }

  /** @throws {KvmError} ENOENT without KVM, EACCES without permission, ENOTTY if it is something else. */
  static open(path: string = DEVICE): Kvm {
    const handle = new native.KvmSystem();
    check(handle.open(path), `open(${path})`, "opening KVM");
    return new Kvm(path, handle);
  }

  /** Always 12. @see api.rst, 4.1 KVM_GET_API_VERSION */
  get apiVersion(): number {
    return check(this.#native.apiVersion(), "ioctl(KVM_GET_API_VERSION)", "asking for KVM's version");
  }

  /** 0 without the capability, otherwise 1 or a number that depends on it. @see api.rst, 4.4 KVM_CHECK_EXTENSION */
  checkExtension(capability: CapabilityName | number): number {
    const result = this.#native.checkExtension(capabilityNumber(capability));
    return check(result, "ioctl(KVM_CHECK_EXTENSION)", `asking KVM for capability ${capability}`);
  }

  /** Bytes of the memory that a vCPU shares with its owner. @see api.rst, 4.5 KVM_GET_VCPU_MMAP_SIZE */
  get vcpuMmapSize(): number {
    return check(this.#native.vcpuMmapSize(), "ioctl(KVM_GET_VCPU_MMAP_SIZE)", "asking for a vCPU's size");
  }

  /** The CPUID that KVM and this host support. @see api.rst, 4.46 KVM_GET_SUPPORTED_CPUID */
  supportedCpuid(): CpuidEntry[] {
    const ask = (words: Uint32Array) =>
      check(this.#native.supportedCpuid(words), "ioctl(KVM_GET_SUPPORTED_CPUID)", "asking KVM for its CPUID");
    const words = cpuidWords(ask(new Uint32Array()));
    ask(words);
    return readCpuid(words);
  }

  /** MSRs that a guest's state consists of. @see api.rst, 4.3 KVM_GET_MSR_INDEX_LIST */
  msrIndexList(): Uint32Array {
    return this.#indexList(
      (out) => this.#native.msrIndexList(out),
      "ioctl(KVM_GET_MSR_INDEX_LIST)",
      "asking KVM for its MSRs",
    );
  }

  /** MSRs that describe features of the hardware. @see api.rst, 4.3 KVM_GET_MSR_FEATURE_INDEX_LIST */
  msrFeatureIndexList(): Uint32Array {
    return this.#indexList(
      (out) => this.#native.msrFeatureIndexList(out),
      "ioctl(KVM_GET_MSR_FEATURE_INDEX_LIST)",
      "asking KVM for its feature MSRs",
    );
  }

  /** Their values, up to the first that KVM refuses. @see api.rst, 4.18 KVM_GET_MSRS */
  featureMsrs(indices: Iterable<number>): MsrEntry[] {
    const bytes = writeMsrs(Array.from(indices, (index) => ({ index, data: 0n })));
    const done = check(this.#native.featureMsrs(bytes), "ioctl(KVM_GET_MSRS)", "reading feature MSRs");
    return readMsrs(bytes, done);
  }

  /**
   * A VM without memory or CPUs.
   *
   * @param type 0 on x86-64, unless KVM offers others
   * @throws {KvmError} EBUSY if another hypervisor has the hardware.
   * @see api.rst, 4.2 KVM_CREATE_VM
   */
  createVm(type = 0): Vm {
    const handle = new native.KvmVm();
    check(this.#native.createVm(handle, type), "ioctl(KVM_CREATE_VM)", "creating a VM");
    return new Vm(handle);
  }

  /** Closing twice does nothing; VMs stay. */
  close(): void {
    this.#native.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #indexList(ask: (out: Uint32Array) => number, call: string, doing: string): Uint32Array {
    const list = new Uint32Array(check(ask(new Uint32Array()), call, doing));
    check(ask(list), call, doing);
    return list;
  }
}
