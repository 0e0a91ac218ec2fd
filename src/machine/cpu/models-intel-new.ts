import type { CpuModel } from "./model.ts";

export const NEW_INTEL_MODELS: readonly CpuModel[] = [
  {
    name: "Broadwell",
    vendor: "GenuineIntel",
    signature: [6, 61, 2],
    levels: [0xd, 0x80000008],
    id: "Intel Core Processor (Broadwell)",
    like: "Haswell",
    adds: "rdseed adx smap 3dnowprefetch",
    versions: [
      { alias: "Broadwell-noTSX", id: "Intel Core Processor (Broadwell, no TSX)", drops: "hle rtm" },
      { alias: "Broadwell-IBRS", id: "Intel Core Processor (Broadwell, IBRS)", adds: "hle rtm spec-ctrl" },
      {
        alias: "Broadwell-noTSX-IBRS",
        id: "Intel Core Processor (Broadwell, no TSX, IBRS)",
        drops: "hle rtm",
      },
    ],
  },
  {
    name: "Skylake-Client",
    vendor: "GenuineIntel",
    signature: [6, 94, 3],
    levels: [0xd, 0x80000008],
    id: "Intel Core Processor (Skylake)",
    like: "Broadwell",
    adds: "xsavec xgetbv1",
    versions: [
      { alias: "Skylake-Client-IBRS", id: "Intel Core Processor (Skylake, IBRS)", adds: "spec-ctrl" },
      {
        alias: "Skylake-Client-noTSX-IBRS",
        id: "Intel Core Processor (Skylake, IBRS, no TSX)",
        drops: "hle rtm",
      },
      { note: "IBRS, XSAVES, no TSX", adds: "xsaves" },
    ],
  },
  {
    name: "KnightsMill",
    vendor: "GenuineIntel",
    signature: [6, 133, 0],
    levels: [0xd, 0x80000008],
    id: "Intel Xeon Phi Processor (Knights Mill)",
    like: "Broadwell",
    adds: "ss avx512f avx512pf avx512er avx512cd avx512-vpopcntdq avx512-4vnniw avx512-4fmaps pdpe1gb",
    drops: "pcid hle invpcid rtm smap",
  },
  {
    name: "Snowridge",
    vendor: "GenuineIntel",
    signature: [6, 134, 1],
    levels: [0x1b, 0x80000008],
    id: "Intel Atom Processor (SnowRidge)",
    like: "Denverton",
    adds: "clwb umip gfni cldemote movdiri movdir64b core-capability split-lock-detect",
    drops: "rdctl-no skip-l1dfl-vmentry",
    versions: [
      { id: "Intel Atom Processor (Snowridge, no MPX)", drops: "mpx" },
      { note: "XSAVES, no MPX", adds: "xsaves" },
      { note: "no split lock detect, no core-capability", drops: "core-capability split-lock-detect" },
    ],
  },
  {
    name: "Skylake-Server",
    vendor: "GenuineIntel",
    signature: [6, 85, 4],
    levels: [0xd, 0x80000008],
    id: "Intel Xeon Processor (Skylake)",
    like: "Skylake-Client",
    adds: "avx512f avx512dq clflushopt clwb avx512cd avx512bw avx512vl pku pdpe1gb",
    versions: [
      {
        alias: "Skylake-Server-IBRS",
        id: "Intel Xeon Processor (Skylake, IBRS)",
        adds: "spec-ctrl",
        drops: "clflushopt",
      },
      {
        alias: "Skylake-Server-noTSX-IBRS",
        id: "Intel Xeon Processor (Skylake, IBRS, no TSX)",
        drops: "hle rtm",
      },
      { note: "IBRS, EPT switching, no TSX" },
      { note: "IBRS, XSAVES, EPT switching, no TSX", adds: "xsaves" },
      { note: "with MBEC enabled" },
    ],
  },
  {
    name: "Cascadelake-Server",
    vendor: "GenuineIntel",
    signature: [6, 85, 6],
    levels: [0xd, 0x80000008],
    id: "Intel Xeon Processor (Cascadelake)",
    like: "Skylake-Server",
    adds: "avx512vnni spec-ctrl ssbd",
    versions: [
      { note: "ARCH_CAPABILITIES", adds: "arch-capabilities rdctl-no ibrs-all skip-l1dfl-vmentry mds-no" },
      { alias: "Cascadelake-Server-noTSX", note: "ARCH_CAPABILITIES, no TSX", drops: "hle rtm" },
      { note: "ARCH_CAPABILITIES, EPT switching, no TSX" },
      { note: "ARCH_CAPABILITIES, EPT switching, XSAVES, no TSX", adds: "xsaves" },
      { note: "with MMIO/GDS/RFDS mitigation status", adds: "sbdr-ssdp-no psdp-no fb-clear gds-no rfds-no" },
      { note: "with MBEC enabled" },
    ],
  },
  {
    name: "Cooperlake",
    vendor: "GenuineIntel",
    signature: [6, 85, 10],
    levels: [0xd, 0x80000008],
    id: "Intel Xeon Processor (Cooperlake)",
    like: "Cascadelake-Server",
    adds:
      "stibp arch-capabilities avx512-bf16 rdctl-no ibrs-all skip-l1dfl-vmentry mds-no pschange-mc-no " +
      "taa-no",
    versions: [{ note: "XSAVES", adds: "xsaves" }],
  },
  {
    name: "Icelake-Server",
    vendor: "GenuineIntel",
    signature: [6, 134, 0],
    levels: [0xd, 0x80000008],
    id: "Intel Xeon Processor (Icelake)",
    like: "Cascadelake-Server",
    adds: "avx512vbmi umip avx512vbmi2 gfni vaes vpclmulqdq avx512bitalg avx512-vpopcntdq la57 wbnoinvd",
    versions: [
      { alias: "Icelake-Server-noTSX", note: "no TSX", drops: "hle rtm" },
      { adds: "arch-capabilities rdctl-no ibrs-all skip-l1dfl-vmentry mds-no pschange-mc-no taa-no" },
      { signature: [6, 106, 0], adds: "avx512ifma sha-ni rdpid fsrm" },
      { note: "XSAVES", adds: "xsaves" },
      { note: "5-level EPT" },
      { note: "TSX, taa-no", adds: "hle rtm" },
      { note: "with MMIO/GDS/RFDS mitigation status", adds: "sbdr-ssdp-no psdp-no fb-clear gds-no rfds-no" },
      { note: "with MBEC enabled" },
    ],
  },
  {
    name: "SierraForest",
    vendor: "GenuineIntel",
    signature: [6, 175, 0],
    levels: [0x23, 0x80000008],
    id: "Intel Xeon Processor (SierraForest)",
    like: "Denverton",
    adds:
      "fma pcid avx f16c bmi1 avx2 bmi2 invpcid adx clwb umip pku gfni vaes vpclmulqdq rdpid " +
      "bus-lock-detect fsrm serialize avx-vnni cmpccxadd fsrs avx-ifma avx-vnni-int8 avx-ne-convert " +
      "mcdt-no xsaves abm wbnoinvd ibrs-all mds-no pschange-mc-no sbdr-ssdp-no fbsdp-no psdp-no " +
      "pbrsb-no",
    drops: "mpx",
    versions: [
      {
        signature: [6, 175, 3],
        adds: "ss tsc-adjust cldemote movdiri movdir64b lam intel-psfd ipred-ctrl rrsba-ctrl bhi-ctrl gds-no rfds-no",
      },
      { note: "with srf-sp cache model and 0x1f leaf", dies: true, caches: "sierra-forest" },
      { note: "with cet-ss and cet-ibt", adds: "cet-ss cet-ibt" },
      { note: "with its-no", adds: "its-no" },
      { note: "with MBEC enabled" },
    ],
  },
  {
    name: "SapphireRapids",
    vendor: "GenuineIntel",
    signature: [6, 143, 4],
    levels: [0x20, 0x80000008],
    id: "Intel Xeon Processor (SapphireRapids)",
    like: "Icelake-Server",
    adds:
      "avx512ifma sha-ni rdpid bus-lock-detect fsrm serialize tsx-ldtrk amx-bf16 avx512-fp16 amx-tile " +
      "amx-int8 arch-capabilities avx-vnni avx512-bf16 fzrm fsrs fsrc xsaves xfd rdctl-no ibrs-all " +
      "skip-l1dfl-vmentry mds-no pschange-mc-no taa-no",
    versions: [
      { adds: "sbdr-ssdp-no fbsdp-no psdp-no" },
      { adds: "ss tsc-adjust cldemote movdiri movdir64b" },
      { note: "with spr-sp cache model and 0x1f leaf", dies: true, caches: "sapphire-rapids" },
      { note: "with cet-ss and cet-ibt", adds: "cet-ss cet-ibt" },
      { note: "with its-no", adds: "its-no" },
      { note: "with GDS and RFDS mitigation status", adds: "gds-no rfds-no" },
      { note: "with MBEC enabled" },
    ],
  },
  {
    name: "ClearwaterForest",
    vendor: "GenuineIntel",
    signature: [6, 221, 0],
    levels: [0x23, 0x80000008],
    id: "Intel Xeon Processor (ClearwaterForest)",
    like: "SierraForest",
    adds:
      "ss tsc-adjust cldemote movdiri movdir64b sha512 sm3 sm4 lam avx-vnni-int16 prefetchiti " +
      "intel-psfd ipred-ctrl rrsba-ctrl ddpd-u bhi-ctrl bhi-no gds-no rfds-no",
    versions: [
      { note: "with cet-ss and cet-ibt", adds: "cet-ss cet-ibt" },
      {
        note: "with its-no, cwf-ap cache model and 0x1f leaf",
        dies: true,
        caches: "clearwater-forest",
        adds: "its-no",
      },
      { note: "with MBEC enabled" },
    ],
  },
  {
    name: "GraniteRapids",
    vendor: "GenuineIntel",
    signature: [6, 173, 0],
    levels: [0x20, 0x80000008],
    id: "Intel Xeon Processor (GraniteRapids)",
    like: "SapphireRapids",
    adds: "amx-fp16 prefetchiti mcdt-no sbdr-ssdp-no fbsdp-no psdp-no pbrsb-no",
    versions: [
      {
        signature: [6, 173, 1],
        levels: [0x24, 0x80000008],
        avx10: 1,
        adds: "ss tsc-adjust cldemote movdiri movdir64b avx10 avx10-128 avx10-256 avx10-512",
      },
      { note: "with gnr-sp cache model and 0x1f leaf", dies: true, caches: "granite-rapids" },
      { note: "with cet-ss and cet-ibt", adds: "cet-ss cet-ibt" },
      { note: "with its-no", adds: "its-no" },
      { note: "with GDS and RFDS mitigation status", adds: "gds-no rfds-no" },
      { note: "with MBEC enabled" },
    ],
  },
  {
    name: "DiamondRapids",
    dies: true,
    vendor: "GenuineIntel",
    signature: [19, 1, 0],
    levels: [0x29, 0x80000008],
    id: "Intel Xeon Processor (DiamondRapids)",
    avx10: 2,
    like: "GraniteRapids",
    adds:
      "ss tsc-adjust fdp-excptn-only zero-fcs-fds cet-ss cldemote movdiri movdir64b md-clear cet-ibt " +
      "stibp flush-l1d cmpccxadd fred lkgs wrmsrns avx-ifma lam movrs avx-vnni-int8 avx-ne-convert " +
      "amx-complex avx10 apxf intel-psfd ipred-ctrl rrsba-ctrl ddpd-u bhi-ctrl amx-int8-alias " +
      "amx-bf16-alias amx-complex-alias amx-fp16-alias amx-fp8 amx-tf32 amx-avx512 amx-movrs " +
      "avx10-128 avx10-256 avx10-512 avx10-vnni-int apx-nci-ndd-nf bhi-no gds-no rfds-no",
    versions: [{ note: "with MBEC enabled" }],
  },
];
