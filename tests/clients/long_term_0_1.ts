// Keeps and finds passages, uploads and reads files, through the official TypeScript client of the 0.1 line.
// Every line of its output is one fact that the test compares. It has no archives, and sources beside folders.
import { LettaClient } from "@letta-ai/letta-client";

const client = new LettaClient({ token: "unused", baseUrl: process.env.FOLKMOOT_BASE_URL });

function tell(what: string, value: unknown): void {
  console.log(`${what}: ${JSON.stringify(value)}`);
}

async function main(): Promise<void> {
  const embedding = "openai/text-embedding-3-small";
  const agent = await client.agents.create({ name: "reader", model: "openai/gpt-4o-mini", embedding });
  const passages = client.agents.passages;
  const [owl] = await passages.create(agent.id, { text: "The owl hunts at night.", tags: ["bird", "night"] });
  await passages.create(agent.id, { text: "The heron fishes at dawn.", tags: ["bird", "dawn"] });
  tell("kept", (await passages.list(agent.id)).map((each) => each.text).sort());
  const found = await passages.search(agent.id, { query: "heron owl", tags: ["night"] });
  tell("found", found.results.map((each) => [each.content, each.tags]));
  await passages.delete(agent.id, owl.id!);
  tell("left", (await passages.list(agent.id)).map((each) => each.text));

  const folder = await client.folders.create({ name: `handbook ${agent.id.slice(-8)}`, embedding });
  const attached = await client.agents.folders.attach(agent.id, folder.id!);
  tell("tools", attached.tools.map((each) => each.name!).filter((name) => name.endsWith("_files")).sort());
  const content = new File(["# Kettles\n\nThe red kettle is for tea.\n"], "kettles.md");
  let file = await client.folders.files.upload(content, folder.id!, {});
  tell("upload", [file.fileName!.split("/")[1], file.processingStatus]);
  while (!["completed", "error"].includes(file.processingStatus!)) {
    await new Promise((done) => setTimeout(done, 50));
    file = await client.sources.getFileMetadata(folder.id!, file.id!);
  }
  tell("read", [file.processingStatus, file.totalChunks, file.chunksEmbedded]);
  await client.agents.files.close(agent.id, file.id!);
  tell("opened again", await client.agents.files.open(agent.id, file.id!));
  tell("closed all", await client.agents.files.closeAll(agent.id));
  tell("passages", (await client.folders.passages.list(folder.id!)).map((each) => each.text));
  tell("folders", (await client.agents.folders.list(agent.id)).map((each) => each.id === folder.id));
  tell("agents", (await client.folders.getAgentsForFolder(folder.id!)).map((each) => each === agent.id));
  tell("jobs", (await client.jobs.listActive({ sourceId: folder.id! })).map((each) => each.status));
  await client.folders.files.delete(folder.id!, file.id!);
  tell("files left", (await client.folders.files.list(folder.id!)).map((each) => each.id));
  await client.agents.folders.detach(agent.id, folder.id!);
  await client.folders.delete(folder.id!);
  await client.agents.delete(agent.id);
}

void main();
