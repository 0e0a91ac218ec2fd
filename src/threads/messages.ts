/**
 * Message-signalled interrupts to the guest's local APICs. A guest may give a
 * device any address: on hardware another one is a write to memory, which no
 * driver wants; here nothing happens.
 *
 * Source: Intel SDM volume 3A, 11.11 (Message Signalled Interrupts).
 */
import type { MessageSink } from "../bus/io.ts";
import type { Vm } from "../kvm/vm.ts";

const LOCAL_APICS = 0xfee0_0000;
const LOCAL_APICS_END = 0xfef0_0000;

export function messagesTo(vm: Pick<Vm, "signalMsi">): MessageSink {
  return {
    send(address, data) {
      if (address >= LOCAL_APICS && address < LOCAL_APICS_END) vm.signalMsi(address, data);
    },
  };
}
