/** A stream to and from a part that sends bytes: a serial port, or the debug console. */
import type { SerialPort } from "../serial-port.ts";
import type { Outlet } from "./outlet.ts";

export function serialOutlet(port: SerialPort): Outlet {
  return {
    plug: ({ ring, receive }) => {
      if (ring !== undefined) port.plug(ring, receive);
    },
    output: () => port.wake(),
    ready: () => port.receiverReady(),
    rewound: () => port.receiverReady(), // if it waited for room: the chip has it, and says so only when it is read
    drain: () => port.drainAll(),
    finish: () => port.finish(),
  };
}
