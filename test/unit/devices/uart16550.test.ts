import { expect, test } from "vitest";
import { Uart16550, Uart16550State } from "../../../src/devices/uart16550.ts";

// Names and values of <linux/serial_reg.h>.
const DATA = 0;
const IER = 1;
const IIR = 2;
const FCR = 2;
const EFR = 2; // of other chips, at LCR 0xbf
const LCR = 3;
const MCR = 4;
const LSR = 5;
const MSR = 6;
const SCR = 7;
const RDI = 0x01;
const THRI = 0x02;
const RLSI = 0x04;
const MSI = 0x08;
const DLAB = 0x80;
const LOOP = 0x10;
const FIFO_ON = 0x01;

function uart() {
  const irq = {
    level: false,
    set(level: boolean) {
      irq.level = level;
    },
  };
  const sent: number[] = [];
  const ready = { raised: 0, raise: () => void ready.raised++ };
  const regs = Uart16550State.view(new SharedArrayBuffer(Uart16550State.size), 0);
  const chip = new Uart16550(regs, irq, { put: (byte) => void sent.push(byte) }, ready);
  chip.reset();
  const get = (offset: number) => chip.read(offset, 1);
  const set = (offset: number, value: number) => chip.write(offset, 1, value);
  return { chip, irq, sent, ready, get, set };
}

test("a byte written to THR is sent, and the transmitter is empty again at once", () => {
  const { sent, get, set } = uart();
  set(DATA, 0x41);
  set(DATA, 0xff);
  expect(sent).toEqual([0x41, 0xff]);
  expect(get(LSR)).toBe(0x60); // THRE | TEMT
});

test("received bytes are read in the order they came, and LSR says when there is one", () => {
  const { chip, get, set } = uart();
  set(FCR, FIFO_ON);
  for (const byte of [1, 2, 3]) chip.receive(byte);
  expect([get(LSR), get(DATA), get(DATA), get(LSR), get(DATA), get(LSR)]).toEqual([
    0x61, 1, 2, 0x61, 3, 0x60,
  ]);
});

test("received data outranks an empty transmitter in IIR: RDI alone, not RDI | THRI, which means line status", () => {
  const { chip, irq, get, set } = uart();
  set(IER, RDI | THRI);
  chip.receive(0x41);
  expect(get(IIR)).toBe(0x04);
  expect(get(DATA)).toBe(0x41);
  expect(get(IIR)).toBe(0x02); // now THRI, cleared by this read
  expect(get(IIR)).toBe(0x01);
  expect(irq.level).toBe(false);
});

test("an overrun is a line status interrupt, first of all, until LSR is read", () => {
  const { irq, get, set } = uart();
  set(MCR, LOOP);
  set(IER, RDI | THRI | RLSI);
  set(DATA, 1);
  set(DATA, 2);
  expect(get(IIR)).toBe(0x06);
  expect(get(LSR)).toBe(0x63); // THRE | TEMT | OE | DR
  expect(get(IIR)).toBe(0x04);
  expect(get(LSR)).toBe(0x61);
  expect(irq.level).toBe(true);
});

test("reading IIR acknowledges THRI only if THRI is what it showed", () => {
  const { chip, get, set } = uart();
  set(IER, RDI | THRI);
  chip.receive(7);
  get(IIR); // RDI
  get(DATA);
  expect(get(IIR)).toBe(0x02);
});

test("setting 8N1 does not disturb the receive FIFO: LCR shares bit values with FCR's clear bits", () => {
  const { chip, get, set } = uart();
  set(FCR, FIFO_ON);
  chip.receive(0x55);
  set(LCR, 0x03);
  expect(get(LCR)).toBe(0x03);
  expect(get(DATA)).toBe(0x55);
});

test("IER's THRI and IIR's THRI are both 2 and are not the same: IER 1 and 4 keep their own meaning", () => {
  const { chip, irq, get, set } = uart();
  set(IER, RLSI); // 4, which in IIR is RDI
  chip.receive(1);
  expect([get(IIR), irq.level]).toEqual([0x01, false]);
  set(IER, RDI); // 1, which in IIR is "none"
  expect([get(IIR), irq.level]).toEqual([0x04, true]);
  expect(get(IER)).toBe(RDI);
});

test("the divisor latch hides the data and interrupt enable registers, and nothing leaks through", () => {
  const { chip, sent, get, set } = uart();
  set(IER, RDI);
  chip.receive(9);
  set(LCR, DLAB);
  expect(get(DATA)).toBe(12); // 9600 baud: an early console divides by the latch
  set(DATA, 0x34);
  set(IER, 0x12);
  expect([get(DATA), get(IER)]).toEqual([0x34, 0x12]);
  set(LCR, 0);
  expect([get(DATA), get(IER)]).toEqual([9, RDI]);
  expect(sent).toEqual([]);
});

test("the interrupt output follows each register that it is made of", () => {
  const { chip, irq, get, set } = uart();
  expect(irq.level).toBe(false);
  chip.receive(1);
  expect(irq.level).toBe(false);
  set(IER, RDI);
  expect(irq.level).toBe(true);
  get(DATA);
  expect(irq.level).toBe(false);
  set(IER, THRI);
  expect(irq.level).toBe(true);
  get(IIR);
  expect(irq.level).toBe(false);
  set(DATA, 1); // sent: empty again
  expect(irq.level).toBe(true);
  set(IER, 0);
  expect(irq.level).toBe(false);
});

test("a full FIFO refuses a byte instead of losing it, and says once when it is empty again", () => {
  const { chip, ready, get, set } = uart();
  set(FCR, FIFO_ON);
  for (let i = 0; i < 16; i++) expect(chip.receive(i)).toBe(true);
  expect(chip.receive(16)).toBe(false);
  expect(chip.receive(16)).toBe(false);
  for (let i = 0; i < 15; i++) get(DATA);
  expect(ready.raised).toBe(0);
  expect(get(DATA)).toBe(15);
  expect(ready.raised).toBe(1);
  expect(chip.receive(16)).toBe(true);
  get(DATA);
  expect(ready.raised).toBe(1); // nobody was refused
});

test.each([
  ["clearing the FIFO", (set: (o: number, v: number) => void) => set(FCR, FIFO_ON | 0x02)],
  ["switching the FIFO off", (set: (o: number, v: number) => void) => set(FCR, 0)],
])("%s makes room too", (_, empty) => {
  const { chip, ready, get, set } = uart();
  set(FCR, FIFO_ON);
  for (let i = 0; i < 17; i++) chip.receive(i);
  empty(set);
  expect(ready.raised).toBe(1);
  expect(get(LSR)).toBe(0x60);
});

test("a reset of the guest does not forget who waits to send", () => {
  const { chip, ready } = uart();
  chip.receive(1);
  expect(chip.receive(2)).toBe(false);
  chip.reset();
  expect(ready.raised).toBe(1);
});

test("without FIFO one byte fits", () => {
  const { chip } = uart();
  expect([chip.receive(1), chip.receive(2)]).toEqual([true, false]);
});

test("the FIFO keeps its order when it wraps around", () => {
  const { chip, get, set } = uart();
  set(FCR, FIFO_ON);
  for (let i = 0; i < 100; i++) {
    chip.receive(i);
    if (i >= 10) expect(get(DATA)).toBe(i - 10);
  }
});

test("in loopback what is sent is received, and nothing leaves or enters the chip", () => {
  const { chip, sent, ready, get, set } = uart();
  set(FCR, FIFO_ON);
  set(MCR, LOOP);
  set(DATA, 0xa5);
  expect(chip.receive(0x11)).toBe(false);
  expect(get(DATA)).toBe(0xa5);
  expect(sent).toEqual([]);
  expect(ready.raised).toBe(0);
  set(MCR, 0);
  expect(ready.raised).toBe(1);
});

test("a loopback overrun keeps the FIFO, but without FIFO the newer byte wins", () => {
  const { get, set } = uart();
  set(MCR, LOOP);
  set(DATA, 1);
  set(DATA, 2);
  expect([get(LSR) & 0x02, get(DATA)]).toEqual([0x02, 2]);
  set(FCR, FIFO_ON);
  for (let i = 0; i < 17; i++) set(DATA, i);
  expect(get(LSR) & 0x02).toBe(0x02);
  expect(Array.from({ length: 17 }, () => get(DATA))).toEqual([...Array(16).keys(), 0]);
});

test("in loopback each modem output is the input it is wired to", () => {
  const { get, set } = uart();
  const wired = [
    [0x01, 0x20], // DTR, DSR
    [0x02, 0x10], // RTS, CTS
    [0x04, 0x40], // OUT1, RI
    [0x08, 0x80], // OUT2, DCD
  ];
  for (const [output, input] of wired) {
    set(MCR, LOOP | output);
    expect(get(MSR) & 0xf0).toBe(input);
  }
  set(MCR, 0);
  expect(get(MSR) & 0xf0).toBe(0xb0); // a terminal that is there
});

test("a modem input that changed is a modem status interrupt until MSR is read", () => {
  const { irq, get, set } = uart();
  set(IER, MSI);
  set(MCR, LOOP | 0x0b); // as the terminal is: DSR, CTS, DCD
  expect(irq.level).toBe(false);
  set(MCR, LOOP | 0x09);
  expect(irq.level).toBe(true);
  expect(get(IIR)).toBe(0x00);
  expect(get(MSR)).toBe(0xa1); // DCD, DSR, delta CTS
  expect(get(MSR)).toBe(0xa0);
  expect(irq.level).toBe(false);
});

test("each change of a modem input counts until MSR is read, even if it changed back", () => {
  const { get, set } = uart();
  set(MCR, LOOP | 0x0b);
  set(MCR, LOOP | 0x0a);
  set(MCR, LOOP | 0x0b);
  set(MCR, LOOP | 0x03);
  expect(get(MSR)).toBe(0x3a); // DSR, CTS, delta DCD, delta DSR
});

test("MCR keeps the bits that the chip has", () => {
  const { get, set } = uart();
  set(MCR, 0xff);
  expect(get(MCR)).toBe(0x1f);
});

test("ringing is reported when it ends, not when it starts", () => {
  const { get, set } = uart();
  set(MCR, LOOP | 0x04);
  get(MSR);
  set(MCR, LOOP);
  expect(get(MSR)).toBe(0x04); // TERI
  set(MCR, LOOP | 0x04);
  expect(get(MSR)).toBe(0x40); // RI, no delta
});

test("the FIFO's other controls take effect only together with its enable bit", () => {
  const { chip, get, set } = uart();
  set(FCR, 0xc6);
  expect(get(IIR)).toBe(0x01);
  set(FCR, FIFO_ON);
  expect(get(IIR)).toBe(0xc1);
  chip.receive(1);
  set(FCR, FIFO_ON | 0xc0); // another trigger level keeps the data
  expect(get(DATA)).toBe(1);
});

// drivers/tty/serial/8250/8250_port.c, autoconfig() and autoconfig_16550a(), step by step.
test("Linux's probe recognises a 16550A, and none of its relatives", () => {
  const { get, set } = uart();
  set(IER, 0);
  expect(get(IER) & 0x0f).toBe(0);
  set(IER, 0x0f);
  expect(get(IER) & 0x0f).toBe(0x0f);
  set(IER, 0);

  set(MCR, LOOP | 0x0a);
  expect(get(MSR) & 0xf0).toBe(0x90); // DCD and CTS

  set(LCR, 0xbf);
  set(EFR, 0);
  set(LCR, 0);
  set(FCR, FIFO_ON);
  expect(get(IIR) & 0xc0).toBe(0xc0); // 8250, 16450, 16550 and ST16650 lack one bit or both

  set(LCR, 0x80);
  expect(get(EFR)).not.toBe(0); // or it has an EFR: 16650, Exar
  set(LCR, 0xbf);
  expect(get(EFR)).not.toBe(0); // or it is an XR16850

  const mcr = LOOP;
  set(LCR, 0);
  set(MCR, mcr);
  set(LCR, 0xe0);
  const excr1 = get(0x02);
  if (((excr1 ^ mcr) & LOOP) === 0) {
    set(LCR, 0);
    set(MCR, mcr ^ LOOP);
    set(LCR, 0xe0);
    expect((get(0x02) ^ mcr) & LOOP).toBe(0); // or it is an NS16550A with baud_base * 8
    set(LCR, 0);
    set(MCR, mcr);
  }
  set(LCR, 0);

  for (const lcr of [0, 0x80]) {
    set(LCR, 0);
    set(FCR, FIFO_ON);
    set(LCR, lcr);
    set(FCR, FIFO_ON | 0x20);
    expect(get(IIR) & 0xe0).toBe(0xc0); // or it is a TI16750 with 64 bytes of FIFO
  }
  set(LCR, 0);

  set(IER, 0x40);
  expect(get(IER) & 0x40).toBe(0); // or it is an XScale
  expect(get(MCR) & 0xe0).toBe(0);
});

// The same file, serial8250_do_startup(): UART_BUG_THRE and UART_BUG_TXEN make the driver poll by timer.
test("Linux finds that enabling THRI raises the interrupt every time", () => {
  const { get, set } = uart();
  for (let i = 0; i < 3; i++) {
    set(IER, THRI);
    expect(get(LSR) & 0x40).toBe(0x40);
    expect(get(IIR)).toBe(0x02);
    set(IER, 0);
  }
});

test("the scratch register keeps what it is given; LSR and MSR take nothing", () => {
  const { get, set } = uart();
  set(SCR, 0x5a);
  set(LSR, 0xff);
  set(MSR, 0xff);
  expect([get(SCR), get(LSR), get(MSR)]).toEqual([0x5a, 0x60, 0xb0]);
});
