"""Moving in and out: backups, agent files, databases of the retired server."""
