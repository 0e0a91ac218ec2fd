/** The computer, as far as `vmexit net` reads and changes it. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { userInfo } from "node:os";
import { dirname } from "node:path";

export interface Ran {
  /** The exit status; -1 if there is no such program. */
  readonly status: number;
  readonly output: string;
  readonly errors: string;
}

export interface NetHost {
  run(words: readonly string[]): Ran;
  /** A file's text; undefined if it cannot be read. */
  read(path: string): string | undefined;
  /** @throws an error if it cannot be written */
  write(path: string, text: string): void;
  remove(path: string): void;
  exists(path: string): boolean;
  /** Names in a folder; none if there is no such folder. */
  list(path: string): string[];
  /** The user for whom interfaces are made: the one who typed sudo. */
  readonly user: string;
  /** CAP_NET_ADMIN. */
  readonly isAdmin: boolean;
}

const CAP_NET_ADMIN = 12n;
const IFF_UP = 1;

export function thisHost(): NetHost {
  return {
    run([program, ...words]) {
      const { status, error, stdout, stderr } = spawnSync(program, words, { encoding: "utf8" });
      if (error !== undefined) return { status: -1, output: "", errors: error.message };
      return { status: status ?? -1, output: stdout, errors: stderr.trim() };
    },
    read(path) {
      try {
        return readFileSync(path, "utf8");
      } catch {
        return undefined;
      }
    },
    write(path, text) {
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, text);
    },
    remove: (path) => rmSync(path, { force: true }),
    exists: existsSync,
    list(path) {
      try {
        return readdirSync(path);
      } catch {
        return [];
      }
    },
    user: process.env.SUDO_USER ?? userInfo().username,
    isAdmin: (effectiveCapabilities() & (1n << CAP_NET_ADMIN)) !== 0n,
  };
}

/** Whether an interface is up. */
export function isUp(host: NetHost, name: string): boolean {
  return (Number(host.read(`/sys/class/net/${name}/flags`) ?? 0) & IFF_UP) !== 0;
}

function effectiveCapabilities(): bigint {
  const found = /^CapEff:\s*([0-9a-f]+)/m.exec(readFileSync("/proc/self/status", "utf8"));
  return found === null ? 0n : BigInt(`0x${found[1]}`);
}
