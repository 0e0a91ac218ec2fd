/** The board of moving-board.mjs for a machine that runs, made of what is built. */
import { layout } from "../../dist/base/layout.js";
import { plug } from "../../dist/machine/part.js";
import { acpiPm } from "../../dist/machine/parts/acpi-pm.js";
import { debugExit } from "../../dist/machine/parts/debug-exit.js";
import { serialPort } from "../../dist/machine/parts/serial-port.js";
import { movingBoard } from "./moving-board.mjs";

export const board = movingBoard({ layout, plug, serialPort, acpiPm, debugExit });
