/** Set-up of each test file of the tiers that run in the lab: the time a test may take there. */
import { vi } from "vitest";
import { patience } from "../../lab/patience.mjs";
import { inLab } from "./lab-host.ts";

/** For one test on an idle machine. What it waits for has shorter limits of its own. */
const TEST_MS = 300_000;

if (inLab) vi.setConfig({ testTimeout: patience(TEST_MS), hookTimeout: patience(TEST_MS) });
