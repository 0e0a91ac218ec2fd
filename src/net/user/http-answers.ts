/** Plain HTTP of the guest, answered by functions: a Request comes in, a Response goes out. */
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { type Duplex, Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { ReadableStream } from "node:stream/web";

export type AnswerRequest = (request: Request) => Response | Promise<Response>;

export class HttpAnswers {
  readonly #answer: AnswerRequest;
  readonly #note: (message: string) => void;
  #server: Server | undefined;

  constructor(answer: AnswerRequest, note: (message: string) => void) {
    this.#answer = answer;
    this.#note = note;
  }

  /** Serves one connection. */
  async serve(stream: Duplex): Promise<void> {
    // Loaded by the first request: most machines make none.
    const { createServer } = await import("node:http");
    this.#server ??= createServer((request, response) => {
      this.#respond(request, response).catch((error: unknown) => {
        this.#note(`onHttp failed for ${request.method} ${request.url}: ${String(error)}`);
        if (!response.headersSent) response.writeHead(500).end();
        else response.destroy();
      });
    });
    this.#server.emit("connection", stream);
  }

  async #respond(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const answer = await this.#answer(requestOf(incoming));
    outgoing.statusCode = answer.status;
    if (answer.statusText !== "") outgoing.statusMessage = answer.statusText;
    for (const [name, value] of answer.headers) outgoing.appendHeader(name, value);
    const { body } = answer;
    if (body === null) outgoing.end();
    else await pipeline(chunksOf(body), outgoing);
  }
}

async function* chunksOf(body: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const chunk of body) yield chunk;
}

function requestOf(incoming: IncomingMessage): Request {
  const { method = "GET", headers, rawHeaders, url = "/" } = incoming;
  const target = URL.canParse(url)
    ? url
    : `http://${headers.host ?? "guest.invalid"}${url.startsWith("/") ? url : "/"}`;
  const fields = new Headers();
  for (let n = 0; n + 1 < rawHeaders.length; n += 2) fields.append(rawHeaders[n], rawHeaders[n + 1]);
  const hasBody = method !== "GET" && method !== "HEAD";
  return new Request(URL.canParse(target) ? target : "http://guest.invalid/", {
    method,
    headers: fields,
    ...(hasBody ? { body: Readable.toWeb(incoming), duplex: "half" } : {}),
  });
}
