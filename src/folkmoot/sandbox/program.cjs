// Runs the code of a call behind the walls, as program.py does for Python, and tells what came of it as JSON.
// The call comes over standard input, which may take a while: Node has started by then.
const fs = require("node:fs");
const { createRequire, stripTypeScriptTypes } = require("node:module");
const { pathToFileURL } = require("node:url");

const [result, packages] = [Number(process.argv[1]), process.argv[2]];
const call = JSON.parse(fs.readFileSync(0, "utf8"));
const file = `${process.cwd()}/code.mjs`;
const adapter = { before: (asksFor, given) => [given, {}], after: (value) => value };
new Function("exports", call.adapter)(adapter);

function say(answer) {
  let data = Buffer.from(JSON.stringify(answer, plain));
  while (data.length > 0) data = data.subarray(fs.writeSync(result, data));
  process.exit(0);
}

// What JSON has no form for.
function plain(name, value) {
  if (typeof value === "bigint") return value.toString();
  if (value instanceof Map) return Object.fromEntries(value);
  if (value instanceof Set) return [...value];
  if (value instanceof Error) return `${value.name}: ${value.message}`;
  return value;
}

function tell(error) {
  const lines = String(error?.stack ?? error).split("\n");
  const own = lines.filter((line) => !line.includes("node:internal") && !line.includes("[eval]"));
  say({ error: own.join("\n").replaceAll(pathToFileURL(file).href, "<code>").replaceAll(file, "<code>").slice(-20000) });
}

// Take the types out of TypeScript: in place where that is enough, so that lines stay what they are.
function withoutTypes(source) {
  const amaro = stripTypeScriptTypes ? null : require(`${packages}/node_modules/amaro`);
  const without = (mode) => amaro
    ? amaro.transformSync(source, { mode: mode === "strip" ? "strip-only" : mode }).code
    : stripTypeScriptTypes(source, { mode });
  try {
    return without("strip");
  } catch {
    return without("transform"); // enums and namespaces are more than types
  }
}

// The source of each parameter of a function.
function parametersOf(called) {
  const text = called.toString().replace(/\/\*[^]*?\*\/|\/\/.*$/gm, "");
  const single = /^(?:async\s+)?([A-Za-z_$][\w$]*)\s*=>/.exec(text);
  if (single) return [single[1]];
  const found = [];
  let depth = 0, part = "";
  for (const letter of text.slice(text.indexOf("(") + 1)) {
    if (depth === 0 && (letter === ")" || letter === ",")) {
      if (part.trim()) found.push(part.trim());
      part = "";
      if (letter === ")") break;
      continue;
    }
    if ("([{".includes(letter)) depth += 1;
    if (")]}".includes(letter)) depth -= 1;
    part += letter;
  }
  return found;
}

// By name, as the arguments are given; all of them together to a function that has one parameter for them.
function inOrder(called, asked) {
  const parameters = parametersOf(called);
  const asksFor = (name) => parameters.some((one) => new RegExp(`^(\\{([^]*[\\s,])?)?${name}(?![\\w$])`).test(one));
  const [given, filled] = adapter.before(asksFor, asked);
  const names = parameters.map((parameter) => /^[A-Za-z_$][\w$]*/.exec(parameter)?.[0] ?? null); // null: taken apart
  const own = names.filter((name) => !(name in filled));
  const isLeftOut = Object.keys(given).length === 0; // the one argument, which has a default then
  const together = own.length === 1 && (own[0] === null || !(own[0] in given || isLeftOut));
  const all = { ...given, ...filled };
  return names.map((name) => (name in filled ? filled[name] : together ? (name === null ? all : given) : given[name]));
}

async function evaluate() {
  let source = call.language === "typescript" ? withoutTypes(call.source) : call.source;
  if (call.entry !== null) source += `\nexport { ${call.entry} as __called };\n`;
  fs.writeFileSync(file, source);
  if (packages) fs.symlinkSync(`${packages}/node_modules`, `${process.cwd()}/node_modules`);
  globalThis.require = createRequire(file);
  const module = await import(pathToFileURL(file).href);
  if (call.entry === null) return null;
  const value = await module.__called(...inOrder(module.__called, call.arguments));
  return adapter.after(value === undefined ? null : value);
}

// What was printed is there when the program ends, however it does, and a loop that prints does not fill the memory.
for (const stream of [process.stdout, process.stderr]) stream._handle?.setBlocking?.(true);
delete process.env.NODE_NO_WARNINGS;
Object.assign(process.env, call.variables);
process.on("uncaughtException", tell);
process.on("exit", (code) => {
  if (code !== 0) fs.writeSync(result, JSON.stringify({ error: `it exited with ${code}` }));
});
process.on("beforeExit", () => say({ error: "it ended before its value was there" }));
evaluate().then((value) => say({ value: value === undefined ? null : value }), tell);
