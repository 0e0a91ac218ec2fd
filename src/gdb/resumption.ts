/**
 * Parses vCont into a plan: what each CPU does.
 *
 * Source: GDB manual, Appendix E.2 "Packets" (vCont) and E.1 (thread-id). CPU n
 * is thread n + 1. The signals of C and S have no meaning for a machine.
 */
import { parseNumber } from "./hex.ts";

export type Action = "run" | "step" | "stay";

/** By CPU. */
export type Plan = readonly Action[];

/** Parses the part after "vCont", as in ";s:1;c"; undefined if it is invalid or no CPU would run. */
export function parsePlan(text: string, cpus: number): Plan | undefined {
  const plan: (Action | undefined)[] = Array.from({ length: cpus });
  if (!text.startsWith(";")) return undefined;
  for (const part of text.slice(1).split(";")) {
    const [, letter, thread] = /^(c|s|C[0-9a-f]{2}|S[0-9a-f]{2})(?::(.+))?$/i.exec(part) ?? [];
    if (letter === undefined) return undefined;
    const action = letter[0] === "c" || letter[0] === "C" ? "run" : "step";
    const named = thread === undefined ? "all" : parseThread(thread, cpus);
    if (named === undefined) return undefined;
    // The leftmost action that names a thread counts.
    for (let cpu = 0; cpu < cpus; cpu++) if (named === "all" || named === cpu) plan[cpu] ??= action;
  }
  return plan.every((action) => action === undefined) ? undefined : plan.map((action) => action ?? "stay");
}

/** A thread-id: a CPU, "all" for -1, CPU 0 for 0 (any); undefined if there is no such thread. */
export function parseThread(text: string, cpus: number): number | "all" | undefined {
  if (text === "-1") return "all";
  const thread = parseNumber(text);
  if (thread === undefined || thread > cpus) return undefined;
  return thread === 0 ? 0 : thread - 1;
}
