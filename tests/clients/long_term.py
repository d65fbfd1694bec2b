"""Keeps and finds passages, uploads and reads files, through the official Python client of the 1.x line.

Every line of its output is one fact that the test compares. 1.0 has no passages of agents: it leaves those out.
"""

import json
import os
import time
from typing import Any

from letta_client import Letta

client = Letta(api_key="unused", base_url=os.environ["FOLKMOOT_BASE_URL"], max_retries=0)


def tell(what: str, value: Any) -> None:
    print(f"{what}: {json.dumps(value)}")


agent = client.agents.create(name="reader", model="openai/gpt-4o-mini")
archive = client.archives.create(name="field notes", description="What was seen")
tell("archive", [archive.name, client.archives.retrieve(archive.id).description])
client.agents.archives.attach(archive.id, agent_id=agent.id)
kept = client.archives.passages.create(archive.id, text="The heron fishes at dawn.", tags=["bird", "dawn"])
if hasattr(client.agents, "passages"):
    owl = client.agents.passages.create(agent.id, text="The owl hunts at night.", tags=["bird", "night"])[0]
    tell("kept", sorted(each.text for each in client.agents.passages.list(agent.id)))
    found = client.agents.passages.search(agent.id, query="heron owl", tags=["night"])
    tell("found", [[each.content, each.tags] for each in found.results])
    tell("found everywhere", client.passages.search(archive_id=archive.id, query="heron", limit=1)[0].passage.text)
    client.agents.passages.delete(owl.id, agent_id=agent.id)
    tell("left", [each.text for each in client.agents.passages.list(agent.id)])
client.archives.passages.delete(kept.id, archive_id=archive.id)
tell("archives", [each.name for each in client.archives.list(agent_id=agent.id)])

folder = client.folders.create(name=f"handbook {archive.id[-8:]}", embedding="openai/text-embedding-3-small")
client.agents.folders.attach(folder.id, agent_id=agent.id)
file = client.folders.files.upload(folder.id, file=("kettles.md", b"# Kettles\n\nThe red kettle is for tea.\n"))
tell("upload", [(file.file_name or "").partition("/")[2], file.processing_status])
while file.processing_status not in ("completed", "error"):
    time.sleep(0.05)
    file = next(each for each in client.folders.files.list(folder.id) if each.id == file.id)
tell("read", [file.processing_status, file.total_chunks, file.chunks_embedded])
(held,) = client.agents.files.list(agent_id=agent.id)
tell("open", [held.is_open, held.visible_content])
client.agents.files.close(file.id, agent_id=agent.id)
tell("closed", [each.is_open for each in client.agents.files.list(agent_id=agent.id)])
tell("opened again", client.agents.files.open(file.id, agent_id=agent.id))
tell("folders", [each.id == folder.id for each in client.agents.folders.list(agent_id=agent.id)])
tell("agents", [each == agent.id for each in client.folders.agents.list(folder.id)])
client.folders.files.delete(file.id, folder_id=folder.id)
tell("files left", [each.id for each in client.folders.files.list(folder.id)])
client.agents.folders.detach(folder.id, agent_id=agent.id)
client.folders.delete(folder.id)
client.archives.delete(archive.id)
tell("archives left", [each.name for each in client.archives.list(agent_id=agent.id)])
