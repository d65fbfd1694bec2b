// A research team fills one block: three agents look something up at once, and every line lands.
// Run: npm install @letta-ai/letta-client@1.12.1 tsx && npx tsx research_team.ts

import Letta from "@letta-ai/letta-client";

const MODEL = process.env.FOLKMOOT_MODEL; // without one, the server's default
const client = new Letta({
  apiKey: process.env.LETTA_API_KEY ?? null,
  baseURL: process.env.FOLKMOOT_BASE_URL ?? "http://localhost:8283",
});

const TEAM = new Map([
  ["historian", "the origin of Letta"],
  ["engineer", "concurrent edits and lost updates"],
  ["librarian", "archival memory and recall memory"],
]);

type Line = { text: string; version: number; author: { name: string } };

async function main() {
  // One block for all; a description tells agents what it is for
  const block = await client.blocks.create({
    label: "findings",
    description: "What the team found out, one line each.",
    value: "",
  });

  // Let one agent look its topic up and note it
  async function research(name: string, topic: string) {
    const agent = await client.agents.create({ name, model: MODEL, tools: ["web_search"], block_ids: [block.id] });
    const request = `Find information about ${topic}. Insert what you learn into the findings block, as one line.`;
    const response = await client.agents.messages.create(agent.id, { input: request });
    for (const message of response.messages) {
      if (message.message_type === "tool_call_message" && "name" in message.tool_call) {
        console.log(`${name}: calls ${message.tool_call.name}`);
      }
      if (message.message_type === "assistant_message") console.log(`${name}: ${message.content}`);
    }
  }

  // All at once: inserts into a shared block never conflict
  await Promise.all([...TEAM].map(([name, topic]) => research(name, topic)));

  // Who wrote what; the server keeps every version with its author
  const blame = await client.get<{ lines: Line[] }>(`/v1/blocks/${block.id}/blame`);
  console.log("\n==== findings ====");
  for (const line of blame.lines) console.log(`${line.author.name} in version ${line.version}: ${line.text}`);
}

main();
