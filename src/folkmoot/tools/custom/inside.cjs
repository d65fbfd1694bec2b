// What stands between the server and a TypeScript tool's function, inside the sandbox, as inside.py does for Python: the
// function is given the agent where it asks for it, and what it changed of the agent's memory goes back with its value.
let memory = null;
let texts = {};

class Memory {
  constructor(blocks) {
    this.blocks = blocks;
  }

  list_block_labels() {
    return this.blocks.map((block) => block.label);
  }

  get_blocks() {
    return [...this.blocks];
  }

  // What its `value` becomes is written to the agent's memory behind the call.
  get_block(label) {
    const found = this.blocks.find((block) => block.label === label);
    if (!found) throw new Error(`There is no block ${label}; there are ${this.list_block_labels().join(", ") || "none"}.`);
    return found;
  }

  update_block_value(label, value) {
    if (typeof value !== "string") throw new TypeError("A block's value has to be a text.");
    this.get_block(label).value = value;
  }
}

function textsNow() {
  return Object.fromEntries(memory.blocks.map((block) => [block.label, String(block.value)]));
}

function show(agent) {
  if (agent === null) return null;
  memory = new Memory(agent.memory.blocks);
  texts = textsNow();
  return { ...agent, memory };
}

// Return the arguments by name, and what is filled in beside them.
exports.before = (asksFor, { arguments: given, agent, agent_id }) => {
  const filled = {};
  if (asksFor("agent_state") && !("agent_state" in given)) filled.agent_state = show(agent);
  if (asksFor("agent_id") && !("agent_id" in given) && agent_id) filled.agent_id = agent_id;
  return [given, filled];
};

// Return what goes back: the value, and the texts of the blocks that were changed.
exports.after = (value) => {
  const changed = memory === null ? [] : Object.entries(textsNow()).filter(([label, text]) => text !== texts[label]);
  return { value, blocks: Object.fromEntries(changed) };
};
