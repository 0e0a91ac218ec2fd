/** Exits by reason, then device, then register, each with its count and time. */
import type { TreeNode } from "./report-data.ts";

/** Children of one node, at most. A guest chooses its ports and could make 65 536; the rest are one child. */
const MAX_CHILDREN = 64;
const REST = "others";

class Branch {
  exits = 0;
  outside = 0;
  readonly children = new Map<string, Branch>();

  child(name: string): Branch {
    let branch = this.children.get(name);
    if (branch !== undefined) return branch;
    const key = this.children.size < MAX_CHILDREN - 1 ? name : REST;
    branch = this.children.get(key) ?? new Branch();
    this.children.set(key, branch);
    return branch;
  }

  toNode(name: string): TreeNode {
    const children = [...this.children].map(([child, branch]) => branch.toNode(child));
    children.sort((a, b) => b.exits - a.exits);
    return { name, exits: this.exits, outside: this.outside, children };
  }
}

export class ExitTree {
  readonly #root = new Branch();

  /** @param path reason, device, register; as many as the exit has */
  add(path: readonly string[], outside: number): void {
    let branch = this.#root;
    for (let depth = 0; ; depth++) {
      branch.exits++;
      branch.outside += outside;
      if (depth === path.length) return;
      branch = branch.child(path[depth]);
    }
  }

  toNode(): TreeNode {
    return this.#root.toNode("all exits");
  }
}
