/** NBD servers and clients of other projects, in a folder of their own. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

export class NbdPeers {
  readonly folder = mkdtempSync(join(tmpdir(), "vmexit-nbd-"));
  readonly #running: ChildProcess[] = [];
  #sockets = 0;

  /** A file in the folder. */
  file(name: string): string {
    return join(this.folder, name);
  }

  /** A name for a socket that does not exist yet. */
  socket(): string {
    return this.file(`${this.#sockets++}.sock`);
  }

  /** Starts nbdkit. Returns its socket. */
  nbdkit(...args: string[]): Promise<string> {
    return this.nbdkitAt(this.socket(), ...args);
  }

  /** Starts nbdkit on a socket whose name is known. */
  async nbdkitAt(path: string, ...args: string[]): Promise<string> {
    for (const old of [path, `${path}.pid`]) rmSync(old, { force: true });
    await this.#start("nbdkit", ["-f", "-P", `${path}.pid`, "-U", path, ...args], `${path}.pid`);
    return path;
  }

  /** Starts qemu-nbd, which stays after its clients leave. Returns its socket. */
  async qemuNbd(...args: string[]): Promise<string> {
    const path = this.socket();
    await this.#start("qemu-nbd", ["-t", `--pid-file=${path}.pid`, "-k", path, ...args], `${path}.pid`);
    return path;
  }

  /** Kills the server that was started last, with SIGKILL. */
  async kill(): Promise<void> {
    const last = this.#running.pop();
    if (last?.kill("SIGKILL")) await once(last, "exit");
  }

  async close(): Promise<void> {
    for (const each of this.#running) each.kill("SIGKILL");
    rmSync(this.folder, { recursive: true });
  }

  /** @param ready a file that exists as soon as the server accepts connections; its socket exists earlier */
  async #start(command: string, args: readonly string[], ready: string): Promise<void> {
    const child = spawn(command, args, { stdio: ["ignore", "ignore", "pipe"] });
    this.#running.push(child);
    let said = "";
    child.stderr?.on("data", (text) => {
      said += text;
    });
    while (!existsSync(ready)) {
      if (child.exitCode !== null) throw new Error(`${command} ${args.join(" ")}: ${said}`);
      await sleep(5);
    }
  }
}

/** Runs a client of another project; this process is its server. */
export async function client(
  command: string,
  ...args: string[]
): Promise<{ readonly status: number | null; readonly output: string }> {
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (text) => {
      output += text;
    });
  }
  const [status]: (number | null)[] = await once(child, "close");
  return { status, output };
}

/** Makes certificates for "localhost" in a folder, with the file names of nbdkit, libnbd and QEMU. */
export function makeCertificates(folder: string): void {
  const openssl = (...args: string[]) => execFileSync("openssl", args, { cwd: folder, stdio: "pipe" });
  const newKey = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  const authority = ["-addext", "keyUsage=critical,keyCertSign"];
  openssl(
    ...newKey,
    "-subj",
    "/CN=vmexit test",
    "-days",
    "2",
    ...authority,
    "-keyout",
    "ca.pem",
    "-out",
    "ca-cert.pem",
  );
  const signed = [
    "-CA",
    "ca-cert.pem",
    "-CAkey",
    "ca.pem",
    "-days",
    "2",
    "-addext",
    "subjectAltName=DNS:localhost",
  ];
  const use = ["-addext", "basicConstraints=critical,CA:FALSE"];
  for (const name of ["server", "client"]) {
    const files = ["-keyout", `${name}-key.pem`, "-out", `${name}-cert.pem`];
    openssl(...newKey, "-subj", `/CN=${name}`, ...signed, ...use, ...files);
  }
}
