import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { documents } from "../../../scripts/option-docs.mjs";
import { EXIT_STATUSES } from "../../../src/cli/exit-status.ts";
import { otherOptionRows, runHelp } from "../../../src/cli/run/command-line.ts";
import { deviceHelp } from "../../../src/cli/run/drive-options.ts";
import { KEYS_HELP } from "../../../src/cli/run/escape-filter.ts";
import { DEVICES } from "../../../src/config/devices.ts";
import { MACHINE } from "../../../src/config/machine.ts";
import { TRACE } from "../../../src/config/trace.ts";

const read = (path: string) => readFileSync(new URL(`../../../${path}`, import.meta.url), "utf8");
const tables = {
  machine: MACHINE,
  devices: DEVICES,
  trace: TRACE,
  runHelp,
  deviceHelp,
  keysHelp: KEYS_HELP,
  exitStatuses: EXIT_STATUSES,
  otherOptions: otherOptionRows(),
};
const texts: Map<string, string> = documents(tables, read);

test.each([...texts.keys()])("%s says what the tables say; else run scripts/option-docs.mjs", (path) => {
  expect(read(path)).toBe(texts.get(path));
});
