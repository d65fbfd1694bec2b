// Makes, changes, runs and uses a tool of its own through the official TypeScript client of the 0.1 line.
import { LettaClient } from "@letta-ai/letta-client";

const client: any = new LettaClient({ token: "unused", baseUrl: process.env.FOLKMOOT_BASE_URL! });
const NAME = process.env.TOOL_NAME!;
const told: Record<string, unknown> = {};

const source = (word: string): string =>
  `def ${NAME}(who: str) -> str:\n    """Greet somebody."""\n    print("asked")\n    return "${word} " + who\n`;
const returned = (messages: any[]): string[] =>
  messages.filter((message) => message.messageType === "tool_return_message").map((message) => message.toolReturn);

async function main(): Promise<void> {
  const made = await client.tools.create({ sourceCode: source("Hello") });
  told.made = [made.name, made.jsonSchema.parameters.required];
  const changed = await client.tools.upsert({ sourceCode: source("Good day"), tags: ["greeting"] });
  told.changed = [changed.id === made.id, changed.tags];
  told.listed = (await client.tools.list({ name: NAME })).map((tool: any) => tool.id === made.id);
  const agent = await client.agents.create({ model: "openai/gpt-4o-mini", includeBaseTools: false, toolIds: [made.id] });
  told.run = (await client.tools.runToolFromSource({ sourceCode: source("Good day"), args: { who: "Ada" } })).toolReturn;
  const asked = { messages: [{ role: "user", content: `CALL ${NAME} {"who": "Bo"}` }] };
  told.turn = returned((await client.agents.messages.create(agent.id, asked)).messages);
  const events: string[] = [];
  for await (const event of await client.agents.messages.createStream(agent.id, asked)) {
    if (event.messageType !== "ping") events.push(event.messageType);
  }
  told.streamed = events;
  await client.agents.tools.modifyApproval(agent.id, NAME, { requiresApproval: true });
  const waiting = await client.agents.messages.create(agent.id, asked);
  told.waiting = waiting.stopReason.stopReason;
  const approval = { type: "approval", approve: true, approvalRequestId: waiting.messages.at(-1).id };
  told.approved = returned((await client.agents.messages.create(agent.id, { messages: [approval] })).messages);
  await client.tools.delete(made.id);
  told.deleted = (await client.tools.list({ name: NAME })).length;
  console.log(JSON.stringify(told));
}

void main();
