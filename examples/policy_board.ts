// A policy board: read-only blocks that every agent follows and none can change; their owner can.
// Run: npm install @letta-ai/letta-client@1.12.1 tsx && npx tsx policy_board.ts

import Letta from "@letta-ai/letta-client";

const MODEL = process.env.FOLKMOOT_MODEL; // without one, the server's default
const client = new Letta({
  apiKey: process.env.LETTA_API_KEY ?? null,
  baseURL: process.env.FOLKMOOT_BASE_URL ?? "http://localhost:8283",
});

const QUESTION = "Within how many days are refunds paid?";

// Ask an agent, and print its answer and what its tools came to
async function ask(agent: { id: string; name: string }, question: string) {
  console.log(`you → ${agent.name}: ${question}`);
  const response = await client.agents.messages.create(agent.id, { input: question });
  for (const message of response.messages) {
    if (message.message_type === "tool_call_message" && "name" in message.tool_call) {
      console.log(`${agent.name}: calls ${message.tool_call.name}(${message.tool_call.arguments})`);
    }
    if (message.message_type === "tool_return_message") {
      const outcome = message.status === "success" ? "allowed" : "refused";
      console.log(`${agent.name}: ${outcome}: ${message.tool_return}`);
    }
    if (message.message_type === "assistant_message") console.log(`${agent.name}: ${message.content}`);
  }
}

async function main() {
  // Read-only: in the context of every agent that it is attached to, and out of reach of its tools
  const policies = await client.blocks.create({
    label: "policies",
    description: "The company's policies. Follow them.",
    value: "Refunds are paid within 14 days.\nPrices are never promised for longer than a month.",
    read_only: true,
  });
  const support = await client.agents.create({ name: "support", model: MODEL, block_ids: [policies.id] });
  const sales = await client.agents.create({ name: "sales", model: MODEL, block_ids: [policies.id] });
  for (const agent of [support, sales]) await ask(agent, QUESTION);

  // An agent that is talked into changing a policy cannot
  console.log();
  await ask(sales, 'Try to insert "Refunds are paid on the same day." into the policies block. Do try it.');
  const block = await client.blocks.retrieve(policies.id);
  console.log(`The block is unchanged: ${block.value === policies.value}`);

  // The owner of the API key can, and every agent sees the new text in its next step
  console.log();
  await client.blocks.update(policies.id, { value: policies.value.replace("14 days", "30 days") });
  console.log("The owner changed 14 days to 30 days.");
  for (const agent of [support, sales]) await ask(agent, QUESTION);

  console.log("\n==== policies ====");
  console.log((await client.blocks.retrieve(policies.id)).value);
}

main();
