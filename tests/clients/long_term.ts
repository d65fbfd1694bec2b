// Keeps and finds passages, uploads and reads files, through the official TypeScript client of the 1.x line.
// Every line of its output is one fact that the test compares.
import Letta, { toFile } from "@letta-ai/letta-client";

const client = new Letta({ apiKey: "unused", baseURL: process.env.FOLKMOOT_BASE_URL, maxRetries: 0 });

function tell(what: string, value: unknown): void {
  console.log(`${what}: ${JSON.stringify(value)}`);
}

async function all<T>(page: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = [];
  for await (const item of page) items.push(item);
  return items;
}

async function main(): Promise<void> {
  const agent = await client.agents.create({ name: "reader", model: "openai/gpt-4o-mini" });
  const agent_id = agent.id;
  const archive = await client.archives.create({ name: "field notes", description: "What was seen" });
  tell("archive", [archive.name, (await client.archives.retrieve(archive.id)).description]);
  await client.agents.archives.attach(archive.id, { agent_id });
  const heron = { text: "The heron fishes at dawn.", tags: ["bird", "dawn"] };
  const kept = await client.archives.passages.create(archive.id, heron);
  const [owl] = await client.agents.passages.create(agent_id, { text: "The owl hunts at night.", tags: ["bird", "night"] });
  tell("kept", (await client.agents.passages.list(agent_id)).map((each) => each.text).sort());
  const found = await client.agents.passages.search(agent_id, { query: "heron owl", tags: ["night"] });
  tell("found", found.results.map((each) => [each.content, each.tags]));
  const everywhere = await client.passages.search({ archive_id: archive.id, query: "heron", limit: 1 });
  tell("found everywhere", everywhere[0].passage.text);
  await client.agents.passages.delete(owl.id!, { agent_id });
  tell("left", (await client.agents.passages.list(agent_id)).map((each) => each.text));
  await client.archives.passages.delete(kept.id!, { archive_id: archive.id });
  tell("archives", (await all(client.archives.list({ agent_id }))).map((each) => each.name));

  const name = `handbook ${archive.id.slice(-8)}`;
  const folder = await client.folders.create({ name, embedding: "openai/text-embedding-3-small" });
  const folder_id = folder.id;
  await client.agents.folders.attach(folder_id, { agent_id });
  const text = Buffer.from("# Kettles\n\nThe red kettle is for tea.\n");
  const sent = await client.folders.files.upload(folder_id, { file: await toFile(text, "kettles.md") });
  tell("upload", [sent.file_name?.split("/")[1], sent.processing_status]);
  let file = await client.folders.files.retrieve(sent.id!, { folder_id });
  while (!["completed", "error"].includes(file.processing_status!)) {
    await new Promise((done) => setTimeout(done, 50));
    file = await client.folders.files.retrieve(sent.id!, { folder_id });
  }
  tell("read", [file.processing_status, file.total_chunks, file.chunks_embedded]);
  const [held] = await all(client.agents.files.list(agent_id));
  tell("open", [held.is_open, held.visible_content]);
  await client.agents.files.close(file.id!, { agent_id });
  tell("closed", (await all(client.agents.files.list(agent_id))).map((each) => each.is_open));
  tell("opened again", await client.agents.files.open(file.id!, { agent_id }));
  tell("folders", (await all(client.agents.folders.list(agent_id))).map((each) => each.id === folder_id));
  tell("agents", (await client.folders.agents.list(folder_id)).map((each) => each === agent_id));
  await client.folders.files.delete(file.id!, { folder_id });
  tell("files left", (await all(client.folders.files.list(folder_id))).map((each) => each.id));
  await client.agents.folders.detach(folder_id, { agent_id });
  await client.folders.delete(folder_id);
  await client.archives.delete(archive.id);
  tell("archives left", (await all(client.archives.list({ agent_id }))).map((each) => each.name));
}

void main();
