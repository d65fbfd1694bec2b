// Calls every method of the official TypeScript client, in an order that the test gives, and prints each one's status,
// with all that was answered as JSON.
import Letta, { APIError, toFile } from "@letta-ai/letta-client";
import { readFileSync } from "node:fs";

type Values = Record<string, any>;
const { world, bodies, files, order } = JSON.parse(readFileSync(0, "utf8")) as {
  world: Record<string, string>;
  bodies: Record<string, Values>;
  files: string[];
  order: string[];
};
type Answer = { name: string; method: string; path: string; body: unknown };
const answers: Answer[] = [];
let calling = "";

// What the server answered, before the client makes anything of it.
async function fetched(url: any, init?: any): Promise<Response> {
  const response = await fetch(url, init);
  const isJson = response.headers.get("content-type")?.startsWith("application/json");
  if (response.ok && response.status !== 204 && isJson) {
    const path = new URL(String(url)).pathname;
    answers.push({ name: calling, method: init?.method ?? "GET", path, body: await response.clone().json() });
  }
  return response;
}

const client: any = new Letta({
  apiKey: "unused",
  baseURL: process.env.FOLKMOOT_BASE_URL,
  maxRetries: 0,
  fetch: fetched,
});

const camel = (name: string): string => name.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase());
const snake = (name: string): string => name.replace(/ID\b/, "_id").replace(/([a-z])([A-Z])/g, "$1_$2").toLowerCase();

// Every method of the client's resources, by the dotted names that Python's client has for them.
function methods(resource: any, above: string): string[] {
  const own = Object.getOwnPropertyNames(Object.getPrototypeOf(resource))
    .filter((name) => name !== "constructor" && !name.startsWith("_"))
    .map((name) => above + name);
  const below = Object.entries(resource)
    .filter(([name, value]) => !name.startsWith("_") && (value as any)?._client !== undefined)
    .flatMap(([name, value]) => methods(value, `${above}${name}.`));
  return [...own, ...below];
}

async function argumentsOf(name: string, method: Function): Promise<any[]> {
  const source = method.toString();
  const known: Values = name.startsWith("mcp_servers.tools.") ? { ...world, tool_id: world.mcp_tool_id } : world;
  const given: Values = { ...bodies[name] };
  if (files.includes(name)) {
    const content = name === "agents.import_file" ? world.agent_file : "other words";
    given.file = await toFile(Buffer.from(content), "c.txt");
  }
  // What a method takes out of its parameters for its path.
  for (const [, each] of source.matchAll(/\$\{(\w+)\}/g)) {
    if (each in known && !/[A-Z]/.test(each)) given[each] ??= known[each];
  }
  const names = /\(([^)]*)\)/.exec(source)![1].split(",").map((part) => part.trim().replace(/\s*=.*/, ""));
  return names.flatMap((each) => {
    if (each === "" || each === "options") return [];
    return ["body", "params", "query"].includes(each) ? [given] : [known[snake(each)]];
  });
}

async function call(name: string): Promise<[number, string]> {
  const path = name.split(".").map(camel);
  const last = path.pop()!;
  const resource = path.reduce((found, each) => found[each], client);
  try {
    const answer = await resource[last](...(await argumentsOf(name, resource[last])));
    if (answer?.controller !== undefined) for await (const _ of answer);
    return [200, ""];
  } catch (error) {
    if (error instanceof APIError && error.status !== undefined) return [error.status, error.message];
    throw new Error(`${name}: ${error}`);
  }
}

async function main(): Promise<void> {
  const there = new Set(
    Object.entries(client)
      .filter(([name, value]) => !name.startsWith("_") && (value as any)?._client !== undefined)
      .flatMap(([name, value]) => methods(value, `${name}.`)),
  );
  const missed = [...there].filter((name) => !order.map((each) => each.split(".").map(camel).join(".")).includes(name));
  if (missed.length > 0) throw new Error(`not called: ${missed}`);
  const told: Record<string, [number, string]> = {};
  for (const name of order) {
    calling = name;
    told[name] = await call(name);
  }
  console.log(JSON.stringify({ told, answers }));
}

void main();
