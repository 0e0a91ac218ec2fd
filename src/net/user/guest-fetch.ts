/** HTTP requests to servers in a guest: `fetch`, over a connection of the user network. */
import type { IncomingMessage } from "node:http";
import { isIPv4 } from "node:net";
import { type Duplex, Readable } from "node:stream";
import { pipeline } from "node:stream/promises";

const HTTP_PORT = 80;

/**
 * `fetch` from a server in the guest. The host of the URL is an address of the guest's network; any name means
 * the first address that DHCP gave.
 */
export async function fetchFrom(
  connect: (port: number, guestAddress?: string) => Promise<Duplex>,
  input: string | URL | Request,
  init?: RequestInit,
): Promise<Response> {
  const request = new Request(input, init);
  const url = new URL(request.url);
  const stream = await connect(portOf(url), isIPv4(url.hostname) ? url.hostname : undefined);
  // A server need not understand chunks: only a body whose length nobody knows is sent in them.
  const body = isStream(init?.body ?? request) ? request.body : Buffer.from(await request.arrayBuffer());
  return fetchOver(stream, request, body);
}

/** Also of a Request, which does not say what its body was made of. */
function isStream(body: unknown): boolean {
  return body instanceof Request ? body.body !== null : Symbol.asyncIterator in Object(body);
}

/** Sends a request over a stream, and returns the response. */
async function fetchOver(
  stream: Duplex,
  request: Request,
  body: Request["body"] | Buffer,
): Promise<Response> {
  const { request: send } = await import("node:http");
  const { pathname, search, host } = new URL(request.url);
  const headers = Object.fromEntries(request.headers);
  const outgoing = send({
    createConnection: () => stream,
    method: request.method,
    path: pathname + search,
    headers: { host, connection: "close", ...headers },
  });
  const response = new Promise<IncomingMessage>((resolve, reject) => {
    outgoing.once("response", resolve);
    outgoing.once("error", reject);
  });
  if (body === null || body instanceof Buffer) outgoing.end(body);
  // A failure is the response's too.
  else pipeline(body, outgoing).catch((error: unknown) => outgoing.destroy(toError(error)));
  return toResponse(await response);
}

/** The port of a URL that a guest's server can have. @throws {TypeError} for what is not plain HTTP */
function portOf({ protocol, port }: URL): number {
  if (protocol !== "http:") throw new TypeError(`a guest is reached by http:, not by ${protocol}`);
  return port === "" ? HTTP_PORT : Number(port);
}

function toResponse(incoming: IncomingMessage): Response {
  const { statusCode = 502, statusMessage = "", rawHeaders } = incoming;
  const headers = new Headers();
  for (let n = 0; n + 1 < rawHeaders.length; n += 2) headers.append(rawHeaders[n], rawHeaders[n + 1]);
  const hasBody = ![204, 205, 304].includes(statusCode);
  const body = hasBody ? Readable.toWeb(incoming) : null;
  return new Response(body, { status: statusCode, statusText: statusMessage, headers });
}

function toError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
