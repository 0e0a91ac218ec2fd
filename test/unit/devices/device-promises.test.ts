import { layout } from "../../../src/base/layout.ts";
import { ByteWide } from "../../../src/bus/byte-wide.ts";
import { ACPI_PM_PORTS, AcpiPm, AcpiPmState } from "../../../src/devices/acpi-pm.ts";
import { CMOS_PORTS, Cmos, CmosState } from "../../../src/devices/cmos.ts";
import { DEBUG_CONSOLE_PORTS, DebugConsole } from "../../../src/devices/debug-console.ts";
import { DEBUG_EXIT_PORTS, DebugExit } from "../../../src/devices/debug-exit.ts";
import { FW_CFG_PORTS, FwCfg, FwCfgState } from "../../../src/devices/fw-cfg.ts";
import { I8042, I8042_COMMAND, I8042State } from "../../../src/devices/i8042.ts";
import { POST_CODE_PORTS, PostCode, PostCodeState } from "../../../src/devices/post-code.ts";
import { SMBUS_PORTS, SmbusHost, SmbusHostState } from "../../../src/devices/smbus-host.ts";
import { dmaControllers, LatchesState, PortA, PortAState } from "../../../src/devices/system-ports.ts";
import { UART16550_PORTS, Uart16550, Uart16550State } from "../../../src/devices/uart16550.ts";
import { devicePromises } from "../../support/device-promises.ts";

const NoState = layout("none", 1, {});

devicePromises({
  name: "uart16550",
  layout: Uart16550State,
  length: UART16550_PORTS,
  build: (regs, world) => new Uart16550(regs, world.irq, world.tx, world.signal),
  disturb: (uart, random) => void uart.receive(Math.floor(random() * 256)),
});

devicePromises({
  name: "uart16550 on a wide bus",
  layout: Uart16550State,
  length: UART16550_PORTS - 3,
  build: (regs, world) => new ByteWide(new Uart16550(regs, world.irq, world.tx, world.signal)),
});

devicePromises({
  name: "cmos",
  layout: CmosState,
  length: CMOS_PORTS,
  build: (regs, world) => new Cmos(regs, world.clock),
});

devicePromises({
  name: "i8042",
  layout: I8042State,
  length: I8042_COMMAND + 1,
  build: (regs, world) => new I8042(regs, world.irq, world.power),
});

devicePromises({
  name: "acpi-pm",
  layout: AcpiPmState,
  length: ACPI_PM_PORTS,
  build: (regs, world) => new AcpiPm(regs, world.irq, world.power, world.clock),
  disturb: (pm) => pm.pressPowerButton(),
});

devicePromises({
  name: "post-code",
  layout: PostCodeState,
  length: POST_CODE_PORTS,
  build: (regs) => new PostCode(regs),
});

devicePromises({
  name: "debug-console",
  layout: NoState,
  length: DEBUG_CONSOLE_PORTS,
  build: (_, world) => new DebugConsole(world.tx),
});

devicePromises({
  name: "debug-exit",
  layout: NoState,
  length: DEBUG_EXIT_PORTS,
  build: (_, world) => new DebugExit(world.power),
});

devicePromises({
  name: "smbus host",
  layout: SmbusHostState,
  length: SMBUS_PORTS,
  build: (regs) => new ByteWide(new SmbusHost(regs)),
});

devicePromises({
  name: "system control port A",
  layout: PortAState,
  length: 1,
  build: (regs, world) => new ByteWide(new PortA(regs, world.power)),
});

devicePromises({
  name: "dma controllers",
  layout: LatchesState,
  length: 0x40,
  build: (regs) => new ByteWide(dmaControllers(regs)),
});

devicePromises({
  name: "fw_cfg",
  layout: FwCfgState,
  length: FW_CFG_PORTS - 3,
  build: (regs) =>
    new FwCfg(regs, (key) => (key < 3 ? Uint8Array.of(1, 2, 3) : undefined), {
      read: (address) => (address < 0x1000 ? new Uint8Array(16).fill(address) : undefined),
      write: () => true,
    }),
});
