// Streams, resumes, cancels, approves and uses a tool of its own through the official TypeScript client.
// Every line of its output is one fact that the test compares; the server's model is scripted.
import Letta from "@letta-ai/letta-client";

const client = new Letta({ apiKey: "unused", baseURL: process.env.FOLKMOOT_BASE_URL, maxRetries: 0 });

async function collect(stream: AsyncIterable<any>): Promise<any[]> {
  const events: any[] = [];
  for await (const event of stream) events.push(event);
  return events;
}

function tell(what: string, value: unknown): void {
  console.log(`${what}: ${JSON.stringify(value)}`);
}

function text(events: any[]): string {
  return events
    .filter((event) => event.message_type === "assistant_message")
    .map((event) => event.content)
    .join("");
}

const types = (events: any[]): string[] => [...new Set(events.map((event) => event.message_type as string))];
const ASKED = "CALL conversation_search {}\nTHEN ECHO one two three";

async function main(): Promise<void> {
  const agent = await client.agents.create({ model: "openai/gpt-4o-mini" });

  const whole = await collect(await client.agents.messages.create(agent.id, { input: ASKED, streaming: true }));
  tell("whole", types(whole));
  tell("whole text", text(whole));

  const tokens = await collect(
    await client.agents.messages.create(agent.id, { input: ASKED, streaming: true, stream_tokens: true }),
  );
  tell("tokens", types(tokens));
  tell("tokens text", text(tokens));
  tell("pieces", tokens.filter((event) => event.message_type === "assistant_message").length > 1);

  const run = await client.agents.messages.createAsync(agent.id, { input: ASKED });
  const followed = await collect(await client.runs.messages.stream(run.id!, {}));
  const resumed = await collect(await client.runs.messages.stream(run.id!, { starting_after: 2 }));
  tell("followed", types(followed));
  tell("resumed", JSON.stringify(resumed) === JSON.stringify(followed.slice(2)));
  tell("run", (await client.runs.retrieve(run.id!)).status);

  const left = await client.agents.messages.create(agent.id, { input: ASKED, streaming: true });
  let leftRun = "";
  for await (const event of left as AsyncIterable<any>) {
    leftRun = event.run_id;
    break;
  }
  tell("left and resumed", types(await collect(await client.runs.messages.stream(leftRun, {}))));


  await client.patch(`/v1/agents/${agent.id}/tools/approval/conversation_search`, {
    body: { requires_approval: true },
  });
  const waiting: any = await client.agents.messages.create(agent.id, { input: ASKED });
  tell("waiting", waiting.stop_reason.stop_reason);
  const approved = await collect(
    await client.agents.messages.create(agent.id, {
      messages: [
        {
          type: "approval",
          approvals: [{ type: "approval", approve: true, tool_call_id: waiting.messages[0].tool_call.tool_call_id }],
        },
      ],
      streaming: true,
    }),
  );
  tell("approved", types(approved));

  const tools = [{ name: "client_lookup", description: "x", parameters: { type: "object", properties: {} } }];
  const asked: any = await client.agents.messages.create(agent.id, {
    input: "CALL client_lookup {}\nTHEN ECHO seven",
    client_tools: tools,
  });
  const answered: any = await client.agents.messages.create(agent.id, {
    messages: [
      {
        type: "approval",
        approvals: [
          { type: "tool", status: "success", tool_return: "7", tool_call_id: asked.messages[0].tool_call.tool_call_id },
        ],
      },
    ],
    client_tools: tools,
  });
  tell("client tool", answered.messages.map((message: any) => message.message_type));

  const held = await client.agents.messages.createAsync(agent.id, { input: "HOLD" });
  tell("cancelled", Object.values(await client.agents.messages.cancel(agent.id, { run_ids: [held.id!] })));
  tell("cancelled stream", types(await collect(await client.runs.messages.stream(held.id!, {}))));
  const last: any = await client.agents.messages.create(agent.id, { input: "ECHO and on" });
  tell("and on", last.messages.at(-1).content);
}

void main();
