/**
 * Registers of an 82540EM network card, and what it remembers besides them.
 *
 * Source: Intel PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's
 * Manual (317453), section 13; names are those of Linux's e1000_hw.h.
 */
import { layout } from "../base/layout.ts";

// Offsets in the memory BAR.
export const CTRL = 0x0000;
export const STATUS = 0x0008;
export const EECD = 0x0010;
export const EERD = 0x0014;
export const CTRL_EXT = 0x0018;
export const MDIC = 0x0020;
export const FCAL = 0x0028;
export const FCAH = 0x002c;
export const FCT = 0x0030;
export const VET = 0x0038;
export const ICR = 0x00c0;
export const ITR = 0x00c4;
export const ICS = 0x00c8;
export const IMS = 0x00d0;
export const IMC = 0x00d8;
export const RCTL = 0x0100;
export const FCTTV = 0x0170;
export const TXCW = 0x0178;
export const TCTL = 0x0400;
export const TIPG = 0x0410;
export const AIT = 0x0458;
export const LEDCTL = 0x0e00;
export const PBA = 0x1000;
export const FCRTL = 0x2160;
export const FCRTH = 0x2168;
export const RDBAL = 0x2800;
export const RDBAH = 0x2804;
export const RDLEN = 0x2808;
export const RDH = 0x2810;
export const RDT = 0x2818;
export const RDTR = 0x2820;
export const RXDCTL = 0x2828;
export const RADV = 0x282c;
export const RSRPD = 0x2c00;
export const TDBAL = 0x3800;
export const TDBAH = 0x3804;
export const TDLEN = 0x3808;
export const TDH = 0x3810;
export const TDT = 0x3818;
export const TIDV = 0x3820;
export const TXDCTL = 0x3828;
export const TADV = 0x382c;
export const TSPMT = 0x3830;
export const STATISTICS = 0x4000;
export const RXCSUM = 0x5000;
export const MTA = 0x5200;
export const RA = 0x5400;
export const VFTA = 0x5600;
export const WUC = 0x5800;
export const WUFC = 0x5808;
export const MANC = 0x5820;

export const CTRL_FD = 1 << 0;
export const CTRL_SLU = 1 << 6;
export const CTRL_SPD_1000 = 1 << 9;
export const CTRL_RST = 1 << 26;
export const CTRL_VME = 1 << 30;
export const CTRL_PHY_RST = 1 << 31;

export const STATUS_FD = 1 << 0;
export const STATUS_LU = 1 << 1;
export const STATUS_SPEED_1000 = 1 << 7;

export const EERD_START = 1 << 0;
export const EERD_DONE = 1 << 4;

export const RCTL_EN = 1 << 1;
export const RCTL_UPE = 1 << 3;
export const RCTL_MPE = 1 << 4;
export const RCTL_LPE = 1 << 5;
export const RCTL_BAM = 1 << 15;
export const RCTL_VFE = 1 << 18;
export const RCTL_BSEX = 1 << 25;
export const RCTL_SECRC = 1 << 26;

export const TCTL_EN = 1 << 1;

export const RXCSUM_IPOFL = 1 << 8;
export const RXCSUM_TUOFL = 1 << 9;

export const RAH_AV = 1 << 31;

// Interrupt causes.
export const ICR_TXDW = 1 << 0;
export const ICR_TXQE = 1 << 1;
export const ICR_LSC = 1 << 2;
export const ICR_RXDMT0 = 1 << 4;
export const ICR_RXO = 1 << 6;
export const ICR_RXT0 = 1 << 7;
export const ICR_MDAC = 1 << 9;

/** Both kinds of descriptor. */
export const DESCRIPTOR_BYTES = 16;

/** A context for checksums and one for segmentation: each is the descriptor that set it. */
const CONTEXTS = 2;

export const E1000State = layout("e1000", 1, {
  ctrl: "u32",
  ctrlExt: "u32",
  eerd: "u32",
  mdic: "u32",
  fcal: "u32",
  fcah: "u32",
  fct: "u32",
  vet: "u32",
  icr: "u32",
  itr: "u32",
  ims: "u32",
  rctl: "u32",
  fcttv: "u32",
  txcw: "u32",
  tctl: "u32",
  tipg: "u32",
  ait: "u32",
  ledctl: "u32",
  pba: "u32",
  fcrtl: "u32",
  fcrth: "u32",
  rdbal: "u32",
  rdbah: "u32",
  rdlen: "u32",
  rdh: "u32",
  rdt: "u32",
  rdtr: "u32",
  rxdctl: "u32",
  radv: "u32",
  rsrpd: "u32",
  tdbal: "u32",
  tdbah: "u32",
  tdlen: "u32",
  tdh: "u32",
  tdt: "u32",
  tidv: "u32",
  txdctl: "u32",
  tadv: "u32",
  tspmt: "u32",
  rxcsum: "u32",
  wuc: "u32",
  wufc: "u32",
  manc: "u32",
  ioAddress: "u32", // what the I/O BAR leads to
  eecd: "u32", // the bits of the microwire bus that the driver sets
  command: "u32", // bits that the EEPROM got since it was selected
  clocks: "u32", // of that bus since then
  epoch: "u32", // grows when the driver takes the transmit ring away
  linkDown: "u8", // the host took the link down
  throttled: "u8", // the io thread delays the interrupt
  receiverWaits: "u8", // the io thread has a frame, or may have one, and no descriptor
  statistics: { u32: 64 },
  multicast: { u32: 128 },
  addresses: { u32: 32 },
  vlans: { u32: 128 },
  phy: { u32: 32 },
  contexts: { u32: (CONTEXTS * DESCRIPTOR_BYTES) / 4 },
});
export type E1000Registers = ReturnType<typeof E1000State.view>;
