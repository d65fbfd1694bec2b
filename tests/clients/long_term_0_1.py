"""Keeps and finds passages, uploads and reads files, through the official Python client of the 0.1 line.

Every line of its output is one fact that the test compares. It has no passages of archives, and sources beside folders.
"""

import json
import os
import time
from typing import Any

from letta_client import Letta

client = Letta(token="unused", base_url=os.environ["FOLKMOOT_BASE_URL"])


def tell(what: str, value: Any) -> None:
    print(f"{what}: {json.dumps(value)}")


agent = client.agents.create(name="reader", model="openai/gpt-4o-mini", embedding="openai/text-embedding-3-small")
archive = client.archives.create_archive(name="field notes", description="What was seen")
tell("archive", [archive.name, archive.description])
owl = client.agents.passages.create(agent.id, text="The owl hunts at night.", tags=["bird", "night"])[0]
client.agents.passages.create(agent.id, text="The heron fishes at dawn.", tags=["bird", "dawn"])
tell("kept", sorted(each.text for each in client.agents.passages.list(agent.id)))
found = client.agents.passages.search(agent.id, query="heron owl", tags=["night"])
tell("found", [[each.content, each.tags] for each in found.results])
client.agents.passages.delete(agent.id, owl.id)
tell("left", [each.text for each in client.agents.passages.list(agent.id)])
tell("archives", [each.name for each in client.archives.list_archives(agent_id=agent.id)])

folder = client.folders.create(name=f"handbook {archive.id[-8:]}", embedding="openai/text-embedding-3-small")
attached = client.agents.folders.attach(agent.id, folder.id)
tell("tools", sorted(each.name for each in attached.tools if each.name.endswith("_files")))
file = client.folders.files.upload(folder.id, file=("kettles.md", b"# Kettles\n\nThe red kettle is for tea.\n"))
tell("upload", [file.file_name.partition("/")[2], file.processing_status])
while file.processing_status not in ("completed", "error"):
    time.sleep(0.05)
    file = client.sources.get_file_metadata(folder.id, file.id)
tell("read", [file.processing_status, file.total_chunks, file.chunks_embedded])
(held,) = client.agents.files.list(agent.id).files
tell("open", [held.is_open, held.visible_content])
client.agents.files.close(agent.id, file.id)
tell("closed", [each.is_open for each in client.agents.files.list(agent.id).files])
tell("opened again", client.agents.files.open(agent.id, file.id))
tell("passages", [each.text for each in client.folders.passages.list(folder.id)])
tell("folders", [each.id == folder.id for each in client.agents.folders.list(agent.id)])
tell("agents", [each == agent.id for each in client.sources.get_agents_for_source(folder.id)])
tell("jobs", [each.status for each in client.jobs.list(source_id=folder.id, active=True)])
client.folders.files.delete(folder.id, file.id)
tell("files left", [each.id for each in client.folders.files.list(folder.id)])
client.agents.folders.detach(agent.id, folder.id)
client.folders.delete(folder.id)
client.agents.delete(agent.id)
