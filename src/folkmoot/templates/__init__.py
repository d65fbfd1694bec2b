"""Templates: plans of agents, kept in versions, from which agents are made and which these are led to later."""
