// Two agents share a memory block: the shared memory tutorial, with the 1.x line of the TypeScript client.
// Run: npm install @letta-ai/letta-client@1.12.1 tsx && npx tsx tutorial_typescript.ts

import Letta from "@letta-ai/letta-client";

const MODEL = process.env.FOLKMOOT_MODEL ?? "openai/gpt-4o-mini";

async function main() {
  // Initialize client
  const client = new Letta({
    apiKey: process.env.LETTA_API_KEY ?? null,
    baseURL: process.env.FOLKMOOT_BASE_URL ?? "http://localhost:8283",
  });

  // Create a memory block that will be shared between agents
  const block = await client.blocks.create({
    label: "organization",
    value: "Organization: Letta",
    limit: 4000,
  });
  console.log(`Created shared block: ${block.id}\n`);

  // Create the first agent with the block attached during creation
  const agent1 = await client.agents.create({
    name: "agent1",
    model: MODEL,
    block_ids: [block.id],
    tools: ["web_search"],
  });
  console.log(`Created agent1: ${agent1.id}`);

  // Create the second agent and attach the block afterward
  const agent2 = await client.agents.create({
    name: "agent2",
    model: MODEL,
    tools: ["web_search"],
  });
  console.log(`Created agent2: ${agent2.id}`);

  await client.agents.blocks.attach(block.id, { agent_id: agent2.id });
  console.log(`Attached block to agent2\n`);

  // Agent1 contributes information
  const response1 = await client.agents.messages.create(
    agent1.id,
    {
      messages: [
        {
          role: "user",
          content: `Find information about the connection between memory blocks and Letta.

Insert what you learn into the memory block, prepended with "Agent1: ".`,
        },
      ],
    },
    {
      timeout: 120_000, // Web search can take time
    },
  );
  for (const msg of response1.messages) {
    if (msg.message_type === "assistant_message") {
      console.log(`Agent1 response: ${msg.content}`);
    }
    if (msg.message_type === "tool_call_message") {
      console.log(`Tool call: ${msg.tool_call.name}(${JSON.stringify(msg.tool_call.arguments)})`);
    }
  }

  // Agent2 contributes information
  const response2 = await client.agents.messages.create(
    agent2.id,
    {
      messages: [
        {
          role: "user",
          content: `Find information about the origin of Letta.

Insert what you learn into the memory block, prepended with "Agent2: ".`,
        },
      ],
    },
    {
      timeout: 120_000, // Web search can take time
    },
  );
  for (const msg of response2.messages) {
    if (msg.message_type === "assistant_message") {
      console.log(`Agent2 response: ${msg.content}`);
    }
    if (msg.message_type === "tool_call_message") {
      console.log(`Tool call: ${msg.tool_call.name}(${JSON.stringify(msg.tool_call.arguments)})`);
    }
  }

  // Inspect the shared memory
  const updatedBlock = await client.blocks.retrieve(block.id);
  console.log("==== Updated block ====");
  console.log(updatedBlock.value);
  console.log("=======================\n");

  // Create a read-only block for policies and attach it to an agent
  const readOnlyBlock = await client.blocks.create({
    label: "policies",
    value: "Company Policy: Always be helpful and respectful.",
    read_only: true,
  });
  const readOnlyAgent = await client.agents.create({
    name: "policy_agent",
    model: MODEL,
    block_ids: [readOnlyBlock.id],
  });
  console.log(`Created read-only agent: ${readOnlyAgent.id}`);
}

main();
