/** Runs the built demos. */
import { fileURLToPath, pathToFileURL } from "node:url";

const DEMOS = fileURLToPath(new URL("../../dist/demos/", import.meta.url));

/** The lines that a demo prints. @throws what the demo throws */
export async function runDemo(name: string): Promise<string[]> {
  const { demo }: { demo(out: (line: string) => void): Promise<void> } = await import(
    pathToFileURL(`${DEMOS}${name}.js`).href
  );
  const lines: string[] = [];
  await demo((line) => lines.push(line));
  return lines;
}
