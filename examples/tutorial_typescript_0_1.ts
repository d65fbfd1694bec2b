// Two agents share a memory block: the shared memory tutorial, as it was written for the 0.1 line of the TypeScript client.
// Run: npm install @letta-ai/letta-client@0.1.211 tsx && npx tsx tutorial_typescript_0_1.ts

import { LettaClient } from "@letta-ai/letta-client";

const MODEL = process.env.FOLKMOOT_MODEL ?? "openai/gpt-4o-mini";

async function main() {
  // Initialize client
  const client = new LettaClient({
    token: process.env.LETTA_API_KEY,
    baseUrl: process.env.FOLKMOOT_BASE_URL ?? "http://localhost:8283",
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
    blockIds: [block.id],
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

  await client.agents.blocks.attach(agent2.id, block.id);
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
      timeoutInSeconds: 120, // Web search can take time
    },
  );
  for (const msg of response1.messages) {
    if (msg.messageType === "assistant_message") {
      console.log(`Agent1 response: ${msg.content}`);
    }
    if (msg.messageType === "tool_call_message") {
      console.log(`Tool call: ${msg.toolCall.name}(${JSON.stringify(msg.toolCall.arguments)})`);
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
      timeoutInSeconds: 120, // Web search can take time
    },
  );
  for (const msg of response2.messages) {
    if (msg.messageType === "assistant_message") {
      console.log(`Agent2 response: ${msg.content}`);
    }
    if (msg.messageType === "tool_call_message") {
      console.log(`Tool call: ${msg.toolCall.name}(${JSON.stringify(msg.toolCall.arguments)})`);
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
    readOnly: true,
  });
  const readOnlyAgent = await client.agents.create({
    name: "policy_agent",
    model: MODEL,
    blockIds: [readOnlyBlock.id],
  });
  console.log(`Created read-only agent: ${readOnlyAgent.id}`);
}

main();
