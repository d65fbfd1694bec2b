// Task coordination: agents claim tasks and report in one block, all at once; no claim is lost, none is made twice.
// Run: npm install @letta-ai/letta-client@1.12.1 tsx && npx tsx task_coordination.ts

import Letta from "@letta-ai/letta-client";

const MODEL = process.env.FOLKMOOT_MODEL; // without one, the server's default
const client = new Letta({
  apiKey: process.env.LETTA_API_KEY ?? null,
  baseURL: process.env.FOLKMOOT_BASE_URL ?? "http://localhost:8283",
});

const TASKS = ["sweep the hall", "light the fire", "call the folk", "count the votes", "write it down", "close the gate"];
const WORKERS = ["ada", "ben", "cleo"];

// Ask an agent to do something; return how many of its edits were refused because somebody was faster
async function ask(agentId: string, request: string): Promise<number> {
  const response = await client.agents.messages.create(agentId, { input: request });
  return response.messages.filter(
    (message) => message.message_type === "tool_return_message" && message.status === "error",
  ).length;
}

async function main() {
  // "[ ]" is an open task, "[ada]" one that ada has claimed
  const block = await client.blocks.create({
    label: "tasks",
    description: 'The team\'s tasks. "[ ]" is open, "[name]" is claimed.',
    value: TASKS.map((task) => `[ ] ${task}`).join("\n"),
  });
  const text = async () => (await client.blocks.retrieve(block.id)).value;

  // Claim one task after the other, and report each, until none is open
  async function work(name: string): Promise<number> {
    const agent = await client.agents.create({ name, model: MODEL, block_ids: [block.id] });
    let refused = 0;
    for (const _ of TASKS) {
      // A replace is checked against the text as it is now: of two who claim the same line, one is refused
      refused += await ask(
        agent.id,
        `Claim one open task of the tasks block: replace "[ ]" in its line by "[${name}]". ` +
          "If somebody was faster, claim another one.",
      );
      const claimed = (await text()).split("\n").find((line) => line.startsWith(`[${name}]`));
      if (!claimed) break;
      console.log(`${name}: claimed '${claimed.slice(claimed.indexOf("] ") + 2)}'`);
      const report = `replace "[${name}]" by "[done by ${name}]"`;
      await ask(agent.id, `You have done your task. Report it in the tasks block: ${report}.`);
    }
    return refused;
  }

  const refused = (await Promise.all(WORKERS.map(work))).reduce((sum, each) => sum + each, 0);
  const end = await text();
  const done = TASKS.filter((task) => new RegExp(`^\\[done by \\w+\\] ${task}$`, "m").test(end));
  console.log(`\n${done.length} of ${TASKS.length} tasks are done; ${refused} claims came too late and were made again.`);
  console.log(`\n==== tasks ====\n${end}`);
}

main();
