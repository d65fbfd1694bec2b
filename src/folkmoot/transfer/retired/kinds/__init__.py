"""What is taken over, a kind of thing to a file, in the order in which one needs the other."""

from __future__ import annotations

from collections.abc import Sequence

from folkmoot.transfer.retired.context import Kind
from folkmoot.transfer.retired.kinds.agents import Agents
from folkmoot.transfer.retired.kinds.archives import Archives
from folkmoot.transfer.retired.kinds.blocks import Blocks
from folkmoot.transfer.retired.kinds.conversations import Conversations
from folkmoot.transfer.retired.kinds.folders import Folders
from folkmoot.transfer.retired.kinds.groups import Groups
from folkmoot.transfer.retired.kinds.identities import Identities
from folkmoot.transfer.retired.kinds.providers import Providers
from folkmoot.transfer.retired.kinds.runs import Runs
from folkmoot.transfer.retired.kinds.sandbox import Sandbox
from folkmoot.transfer.retired.kinds.tools import Servers, Tools

KINDS: Sequence[Kind] = (
    Providers(),
    Blocks(),
    Servers(),
    Tools(),
    Archives(),
    Folders(),
    Agents(),
    Conversations(),
    Groups(),
    Identities(),
    Runs(),
    Sandbox(),
)
