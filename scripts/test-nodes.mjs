/**
 * Runs the unit and kvm tiers under each version of Node that vmexit supports, with the one addon.
 *
 *   npm run test:nodes                          all versions, both tiers
 *   npm run test:nodes -- 26 kvm test/kvm/cli   these versions, tiers and files
 *
 * The kvm tier needs a /dev/kvm that opens.
 */
import { join } from "node:path";
import { NODES, nodeFolder } from "./node-versions.mjs";
import { hostKvm, main, root, run, setUp } from "./setup.mjs";

const TIERS = ["unit", "kvm"];

await main("test:nodes", async (args) => {
  const chosen = (all) => {
    const named = all.filter((name) => args.includes(String(name)));
    return named.length > 0 ? named : all;
  };
  const files = args.filter((arg) => ![...NODES, ...TIERS].map(String).includes(arg));
  const tiers = chosen(TIERS);
  if (tiers.includes("kvm") && !hostKvm().opens)
    throw new Error("/dev/kvm cannot be opened; see vmexit probe");
  setUp(["image", "test"], ".");
  const failed = [];
  for (const version of chosen(NODES)) {
    const node = join(nodeFolder(version), "node");
    for (const tier of tiers) {
      console.error(`\ntest:nodes: Node ${version}, ${tier} tier`);
      const status = await run([
        node,
        join(root, "node_modules/vitest/vitest.mjs"),
        "run",
        "--project",
        tier,
        ...files,
      ]);
      if (status !== 0) failed.push(`${tier} under Node ${version}`);
    }
  }
  console.log(failed.length > 0 ? `failed: ${failed.join(", ")}` : "all passed");
  return failed.length > 0 ? 1 : 0;
});
