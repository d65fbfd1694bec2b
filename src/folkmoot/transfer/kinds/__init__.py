"""What agent files carry, a kind of thing to a file: how it is written, and how it is taken in."""

from __future__ import annotations

from folkmoot.transfer.kinds.archives import Archives
from folkmoot.transfer.kinds.blocks import AccessToBlocks, Blocks
from folkmoot.transfer.kinds.conversations import Conversations
from folkmoot.transfer.kinds.elsewhere import Elsewhere
from folkmoot.transfer.kinds.folders import Folders
from folkmoot.transfer.kinds.groups import Groups
from folkmoot.transfer.kinds.identities import Identities
from folkmoot.transfer.kinds.servers import Servers
from folkmoot.transfer.kinds.tools import Tools

BEFORE_AGENTS = (Servers(), Tools(), Blocks())
"""Kinds that agents are made with."""

OF_AGENTS = (AccessToBlocks(), Conversations(), Folders(), Archives(), Identities(), Groups())
"""Kinds that belong to agents which are there."""

EXPORTED = (*BEFORE_AGENTS, *OF_AGENTS)

IMPORTED_AFTER = (*OF_AGENTS, Elsewhere())
