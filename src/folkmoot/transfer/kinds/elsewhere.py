"""What a file may have and this server has no place for: it is told, thing by thing."""

from __future__ import annotations

from folkmoot.store.engine import Transaction
from folkmoot.transfer.importing import Loading

_WHAT = {
    "skills": "a skill has no place here yet",
}


class Elsewhere:
    """Sections of which nothing is taken."""

    def prepare(self, loading: Loading) -> None:
        """Tell of each thing in them, and of what the file itself says that it lacks."""
        loading.left_out += [f"not in the file: {line}" for line in loading.file.left_out]
        for section, what in _WHAT.items():
            for thing in loading.file.section(section):
                name = thing.get("name") or thing.get("server_name") or thing.get("file_name") or thing.get("id")
                loading.left_out.append(f"{section} {name!r}: {what}.")
        for entry in loading.file.section("agents"):
            if entry.get("identity_ids"):
                loading.left_out.append(
                    f"agent {entry.get('name')!r}: the file names identities that it does not have."
                )

    async def load(self, loading: Loading, transaction: Transaction) -> None:
        """Make nothing."""
