// Asks an agent through the Vercel AI SDK: whole, streamed with a tool that the agent has itself, and streamed in the
// background. Every line of its output is one fact that the test compares; the server's model is scripted.
import { createLetta } from "@letta-ai/vercel-ai-sdk-provider";
import { generateText, streamText } from "ai";

const letta = createLetta({ baseUrl: process.env.FOLKMOOT_BASE_URL, token: "unused" });
const id = process.env.AGENT_ID!;

function tell(what: string, value: unknown): void {
  console.log(`${what}: ${JSON.stringify(value)}`);
}

const asked = (prompt: string, agent: object = {}) => ({
  model: letta(),
  prompt,
  maxRetries: 0,
  providerOptions: { letta: { agent: { id, ...agent } } },
  tools: { conversation_search: letta.tool("conversation_search") },
});

async function main(): Promise<void> {
  tell("generated", (await generateText(asked("THINK a while\nECHO all at once"))).text);

  const streamed = streamText(asked("THINK a while\nCALL conversation_search {}\nTHEN ECHO one two three"));
  const parts: string[] = [];
  for await (const part of streamed.fullStream) parts.push(part.type === "tool-result" ? part.toolName : part.type);
  tell("streamed", await streamed.text);
  tell("thought", await streamed.reasoningText);
  tell("parts", [...new Set(parts)]);

  const pieces: string[] = [];
  const tokens = { background: true, includePings: true, streamTokens: true };
  for await (const piece of streamText(asked("ECHO four five six", tokens)).textStream) pieces.push(piece);
  tell("in the background", pieces.join(""));
  tell("in pieces", pieces.length > 1);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
