// Makes, changes, runs and uses a tool of its own through the official TypeScript client of the 1.x line.
import Letta from "@letta-ai/letta-client";

const client = new Letta({ apiKey: "unused", baseURL: process.env.FOLKMOOT_BASE_URL, maxRetries: 0 });
const NAME = process.env.TOOL_NAME!;
const told: Record<string, unknown> = {};

const source = (word: string): string =>
  `def ${NAME}(who: str) -> str:\n    """Greet somebody."""\n    print("asked")\n    return "${word} " + who\n`;
const returned = (messages: any[]): string[] =>
  messages.filter((message) => message.message_type === "tool_return_message").map((message) => message.tool_return);

async function listed(): Promise<any[]> {
  const tools: any[] = [];
  for await (const tool of client.tools.list({ name: NAME })) tools.push(tool);
  return tools;
}

async function main(): Promise<void> {
  const made: any = await client.tools.create({ source_code: source("Hello") });
  told.made = [made.name, made.json_schema.parameters.required];
  const changed = await client.tools.upsert({ source_code: source("Good day"), tags: ["greeting"] });
  told.changed = [changed.id === made.id, changed.tags];
  told.listed = (await listed()).map((tool) => tool.id === made.id);
  const agent = await client.agents.create({ model: "openai/gpt-4o-mini", include_base_tools: false, tool_ids: [made.id] });
  told.run = (await client.agents.tools.run(NAME, { agent_id: agent.id, args: { who: "Ada" } })).func_return;
  const asked: any = { messages: [{ role: "user", content: `CALL ${NAME} {"who": "Bo"}` }] };
  told.turn = returned((await client.agents.messages.create(agent.id, asked)).messages);
  const events: string[] = [];
  for await (const event of (await client.agents.messages.create(agent.id, { ...asked, streaming: true })) as any) {
    if (event.message_type !== "ping") events.push(event.message_type);
  }
  told.streamed = events;
  await client.agents.tools.updateApproval(NAME, { agent_id: agent.id, body_requires_approval: true });
  const waiting: any = await client.agents.messages.create(agent.id, asked);
  told.waiting = waiting.stop_reason.stop_reason;
  const id = waiting.messages.at(-1).tool_call.tool_call_id;
  const approval: any = { type: "approval", approvals: [{ type: "approval", approve: true, tool_call_id: id }] };
  told.approved = returned((await client.agents.messages.create(agent.id, { messages: [approval] })).messages);
  await client.tools.delete(made.id);
  told.deleted = (await listed()).length;
  console.log(JSON.stringify(told));
}

void main();
