// Specialists pass on intermediate results: each reads the block of the one before it and writes its own.
// Run: npm install @letta-ai/letta-client@1.12.1 tsx && npx tsx specialists.ts

import Letta from "@letta-ai/letta-client";

const MODEL = process.env.FOLKMOOT_MODEL; // without one, the server's default
const client = new Letta({
  apiKey: process.env.LETTA_API_KEY ?? null,
  baseURL: process.env.FOLKMOOT_BASE_URL ?? "http://localhost:8283",
});

const TOPICS = ["lost updates and concurrent edits", "read-only memory blocks", "prompt caching"];
const MATTERS = ["lost updates", "read-only blocks"];
const WANTED = "edits that are refused";

type Agent = { id: string; name: string };

// Create an agent that may write into one block, and read another
async function specialist(name: string, writes: string, reads?: string, tools?: string[]): Promise<Agent> {
  const agent = await client.agents.create({ name, model: MODEL, block_ids: [writes], tools });
  if (reads) {
    // Folkmoot's own addition: access is set for each attachment
    await client.agents.blocks.attach(reads, { agent_id: agent.id }, { body: { access: "read" } });
  }
  return agent;
}

// Ask a specialist and print what it says
async function ask(agent: Agent, request: string) {
  console.log(`you → ${agent.name}: ${request}`);
  const response = await client.agents.messages.create(agent.id, { input: request });
  for (const message of response.messages) {
    if (message.message_type === "assistant_message") console.log(`${agent.name}: ${message.content}\n`);
  }
}

async function main() {
  const create = (label: string, description: string) => client.blocks.create({ label, description, value: "" });
  const findings = await create("findings", "What the researcher found, unsorted.");
  const analysis = await create("analysis", "What of the findings matters.");
  const report = await create("report", "What the reader gets.");

  const researcher = await specialist("researcher", findings.id, undefined, ["web_search"]);
  const analyst = await specialist("analyst", analysis.id, findings.id);
  const writer = await specialist("writer", report.id, analysis.id);

  for (const topic of TOPICS) {
    await ask(researcher, `Find information about ${topic} and insert what you learn into the findings block.`);
  }
  for (const topic of MATTERS) {
    await ask(analyst, `Pick what the findings block says about ${topic} and insert it into the analysis block.`);
  }
  await ask(writer, `Condense what the analysis block says about ${WANTED} and insert it into the report block.`);

  for (const block of [findings, analysis, report]) {
    console.log(`==== ${block.label} ====\n${(await client.blocks.retrieve(block.id)).value}\n`);
  }
}

main();
