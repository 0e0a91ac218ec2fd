/** Linux that is saved and continues: nothing that it computes, stores or measures shows it. */
import { availableParallelism } from "node:os";
import { test } from "vitest";
import { patience } from "../../lab/patience.mjs";
import { continuesExactly } from "../support/checksum-guest.ts";

/** Snapshots of one guest. */
const ROUNDS = Number(process.env.VMEXIT_SNAPSHOT_ROUNDS ?? "3");

/** No more than the host has: in the lab, a guest with more CPUs stalls, of any monitor. */
const MANY_CPUS = Math.max(2, Math.min(4, availableParallelism()));
/** Of one test, with a guest that boots. */
const TIMEOUT_MS = patience(300_000 + 10_000 * ROUNDS);

test.each([1, MANY_CPUS])(
  `with %i CPUs, ${ROUNDS} snapshots at random moments change nothing`,
  (cpus) => continuesExactly(ROUNDS, { cpus }),
  TIMEOUT_MS,
);
