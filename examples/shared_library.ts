// A team with a library: two agents keep what they find in one archive, and each finds what the other kept.
// Run: npm install @letta-ai/letta-client@1.12.1 tsx && npx tsx shared_library.ts

import Letta from "@letta-ai/letta-client";

const MODEL = process.env.FOLKMOOT_MODEL; // without one, the server's default
const client = new Letta({
  apiKey: process.env.LETTA_API_KEY ?? null,
  baseURL: process.env.FOLKMOOT_BASE_URL ?? "http://localhost:8283",
});

const TOPICS = { historian: "the origin of Letta", engineer: "concurrent edits and lost updates" };
const TOOLS = ["web_search", "archival_memory_insert", "archival_memory_search"];

type Found = { passage: { text: string; author: { name: string } }; metadata: { words: string[] } };

async function main() {
  // One archive for all; a description tells agents what it is for
  const description = "What the team found out, with its sources.";
  const archive = await client.archives.create({ name: "library", description });

  async function join(name: string) {
    const agent = await client.agents.create({ name, model: MODEL, tools: TOOLS });
    await client.agents.archives.attach(archive.id, { agent_id: agent.id });
    return agent;
  }
  const agents = { historian: await join("historian"), engineer: await join("engineer") };

  // Ask one agent, and show what it does and says
  async function ask(name: keyof typeof TOPICS, request: string) {
    const response = await client.agents.messages.create(agents[name].id, { input: request });
    for (const message of response.messages) {
      if (message.message_type === "tool_call_message" && "name" in message.tool_call) {
        console.log(`${name}: calls ${message.tool_call.name}`);
      }
      if (message.message_type === "assistant_message") console.log(`${name}: ${message.content}`);
    }
  }

  // Both fill the archive, at once
  const keep = (topic: string) => `Find information about ${topic}. Keep it in the archive.`;
  await Promise.all([ask("historian", keep(TOPICS.historian)), ask("engineer", keep(TOPICS.engineer))]);

  // Each asks the archive for what the other one found
  await ask("historian", `Search the archive for ${TOPICS.engineer}.`);
  await ask("engineer", `Search the archive for ${TOPICS.historian}.`);

  // Who wrote what, and why a search finds it
  const body = { query: "lost updates", archive_id: archive.id };
  const found = await client.post<Found[]>("/v1/passages/search", { body });
  console.log("\n==== library ====");
  for (const { passage, metadata } of found) {
    console.log(`${passage.author.name}, for ${JSON.stringify(metadata.words)}: ${passage.text.slice(0, 60)}`);
  }
}

main();
