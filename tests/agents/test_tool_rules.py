"""Tool rules: tables of what they allow and demand, then properties that hold for all rules."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from folkmoot.agents.tool_rules import Called, ToolRules
from folkmoot.errors import InvalidInput

TOOLS = ["a", "b", "c", "d"]


def rule(kind: str, tool: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, "tool_name": tool, "prompt_template": None, **fields}


def ok(name: str, text: str = "done") -> Called:
    return Called(name, text)


def failed(name: str) -> Called:
    return Called(name, "it broke", failed=True)


FIRST_A = rule("run_first", "a")
FIRST_B = rule("run_first", "b")
A_THEN_BC = rule("constrain_child_tools", "a", children=["b", "c"])
A_THEN_B = rule("constrain_child_tools", "a", children=["b"])
A_THEN_C = rule("constrain_child_tools", "a", children=["c"])
C_AFTER_A = rule("parent_last_tool", "a", children=["c"])
C_AFTER_B = rule("parent_last_tool", "b", children=["c"])
A_TWICE = rule("max_count_per_step", "a", max_count_limit=2)
A_ONCE = rule("max_count_per_step", "a", max_count_limit=1)
A_GOES_ON = rule("continue_loop", "a")
A_ENDS = rule("exit_loop", "a")
A_NEEDED = rule("required_before_exit", "a")
B_NEEDED = rule("required_before_exit", "b")
A_MAPS: dict[str, Any] = rule("conditional", "a", child_output_mapping={"yes": "b", "no": "c", "Yes": "d"})
A_MAPS_OR_D = {**A_MAPS, "default_child": "d"}
A_MAPS_STRICTLY = {**A_MAPS, "default_child": "d", "require_output_mapping": True}


@pytest.mark.parametrize(
    ("rules", "called", "allowed", "must"),
    [
        pytest.param([], [], "abcd", False, id="no rules"),
        pytest.param([FIRST_A], [], "a", True, id="first: nothing called"),
        pytest.param([FIRST_B, FIRST_A], [], "ab", True, id="first: any one of several, in the tools' order"),
        pytest.param([FIRST_A], [ok("a")], "abcd", False, id="first: done"),
        pytest.param([FIRST_A], [failed("a")], "a", True, id="first: failed, so still to do"),
        pytest.param([rule("run_first", "gone")], [], "abcd", False, id="first: a tool the agent does not have"),
        pytest.param([A_THEN_BC], [], "abcd", False, id="child: parent not called"),
        pytest.param([A_THEN_BC], [ok("a")], "bc", True, id="child: after the parent"),
        pytest.param([A_THEN_BC], [ok("a"), failed("b")], "bc", True, id="child: failed, so still pending"),
        pytest.param([A_THEN_BC], [ok("b"), failed("a")], "abcd", False, id="child: parent failed"),
        pytest.param([A_THEN_BC], [ok("a"), ok("b")], "abcd", False, id="child: done"),
        pytest.param([A_THEN_B, A_THEN_C], [ok("a")], "bc", True, id="child: two lists add up"),
        pytest.param([{**A_THEN_B, "children": []}], [ok("a")], "", False, id="child: none, so no call is possible"),
        pytest.param([{**A_THEN_B, "children": ["gone"]}], [ok("a")], "", False, id="child: only tools not there"),
        pytest.param([A_MAPS], [], "abcd", False, id="conditional: not called"),
        pytest.param([A_MAPS], [ok("a", "no")], "c", True, id="conditional: mapped"),
        pytest.param([A_MAPS], [ok("a", " yes\n")], "b", True, id="conditional: space around the text"),
        pytest.param([A_MAPS], [ok("a", "Yes")], "d", True, id="conditional: exact case wins"),
        pytest.param([A_MAPS], [ok("a", "NO")], "c", True, id="conditional: else case does not matter"),
        pytest.param([A_MAPS], [ok("a", "perhaps")], "abcd", False, id="conditional: no match, no default"),
        pytest.param([A_MAPS_OR_D], [ok("a", "perhaps")], "d", True, id="conditional: the default"),
        pytest.param([A_MAPS_STRICTLY], [ok("a", "perhaps")], "", False, id="conditional: a match required"),
        pytest.param([A_MAPS_STRICTLY], [ok("a", "yes")], "b", True, id="conditional: a match required and there"),
        pytest.param([A_MAPS, A_MAPS_OR_D], [ok("a", "hm")], "abcd", False, id="conditional: one of two is open"),
        pytest.param([A_MAPS, A_THEN_BC], [ok("a", "no")], "c", True, id="conditional and child: both hold"),
        pytest.param([A_MAPS, A_THEN_BC], [ok("a", "hm")], "bc", True, id="conditional is silent, child holds"),
        pytest.param([C_AFTER_A], [], "abd", False, id="parent: not called"),
        pytest.param([C_AFTER_A], [ok("a")], "abcd", False, id="parent: just called"),
        pytest.param([C_AFTER_A], [ok("a"), ok("b")], "abd", False, id="parent: called, but not last"),
        pytest.param([C_AFTER_A], [ok("a"), failed("c")], "abcd", False, id="parent: child failed, may try again"),
        pytest.param([C_AFTER_A], [failed("a")], "abd", False, id="parent: failed"),
        pytest.param([C_AFTER_A, C_AFTER_B], [ok("b")], "abcd", False, id="parent: any of two"),
        pytest.param([A_TWICE], [ok("a")], "abcd", False, id="limit: not reached"),
        pytest.param([A_TWICE], [ok("a"), ok("b"), ok("a")], "bcd", False, id="limit: reached"),
        pytest.param([A_TWICE], [ok("a"), failed("a")], "bcd", False, id="limit: a failed call counts"),
        pytest.param([A_TWICE, A_ONCE], [ok("a")], "bcd", False, id="limit: the lowest counts"),
        pytest.param([{**A_ONCE, "max_count_limit": 0}], [], "bcd", False, id="limit: nought"),
        pytest.param([FIRST_A, A_ONCE], [failed("a")], "", False, id="nothing left to begin with"),
        pytest.param([A_GOES_ON], [ok("a")], "abcd", True, id="continue: last"),
        pytest.param([A_GOES_ON], [ok("a"), ok("b")], "abcd", False, id="continue: not last"),
        pytest.param([A_GOES_ON], [failed("a")], "abcd", False, id="continue: failed"),
        pytest.param([A_THEN_BC, A_ENDS], [ok("a")], "bc", False, id="a turn that ends demands nothing"),
    ],
)
def test_what_may_and_must_be_called(
    rules: list[dict[str, Any]], called: list[Called], allowed: str, must: bool
) -> None:
    read = ToolRules.read(rules)
    assert read.allowed(TOOLS, called) == list(allowed)
    assert read.must_call(TOOLS, called) is must
    assert read.forced(TOOLS, called) == (allowed if must and len(allowed) == 1 else None)


def test_only_tool_there_is_not_forced_without_a_demand() -> None:
    assert ToolRules.read([A_ENDS]).forced(["b"], []) is None


def test_order_of_the_tools_is_kept() -> None:
    assert ToolRules.read([A_THEN_BC]).allowed(["c", "d", "b"], [ok("a")]) == ["c", "b"]


@pytest.mark.parametrize(
    ("called", "ends"),
    [
        pytest.param([], False, id="nothing called"),
        pytest.param([ok("a")], True, id="called"),
        pytest.param([failed("a")], False, id="failed"),
        pytest.param([ok("b")], False, id="another tool"),
        pytest.param([ok("a"), ok("b")], True, id="others of the same reply after it"),
        pytest.param([failed("a"), ok("a")], True, id="second try"),
    ],
)
def test_terminal_tool_ends_the_turn(called: list[Called], ends: bool) -> None:
    assert ToolRules.read([A_ENDS]).ends_turn(called) is ends


@pytest.mark.parametrize(
    ("rules", "tools", "called", "missing"),
    [
        pytest.param([], TOOLS, [], [], id="no rules"),
        pytest.param([B_NEEDED, A_NEEDED, A_NEEDED], TOOLS, [], ["b", "a"], id="none called"),
        pytest.param([B_NEEDED, A_NEEDED], TOOLS, [ok("a"), ok("c")], ["b"], id="one called"),
        pytest.param([A_NEEDED], TOOLS, [failed("a")], ["a"], id="failed"),
        pytest.param([A_NEEDED], ["b"], [], [], id="the agent does not have it"),
        pytest.param([A_NEEDED, A_ONCE], TOOLS, [failed("a")], [], id="cannot be called again"),
        pytest.param([B_NEEDED, {**A_THEN_B, "children": []}], TOOLS, [ok("a")], [], id="nothing can be called"),
        pytest.param([B_NEEDED, A_THEN_C], TOOLS, [ok("a")], ["b"], id="not at once, but later"),
    ],
)
def test_missing_before_exit(
    rules: list[dict[str, Any]], tools: list[str], called: list[Called], missing: list[str]
) -> None:
    assert ToolRules.read(rules).missing_before_exit(tools, called) == missing


def test_approval_is_asked_for_the_named_tool_alone() -> None:
    rules = ToolRules.read([rule("requires_approval", "a")])
    assert rules.needs_approval("a")
    assert not rules.needs_approval("b")


@pytest.mark.parametrize(
    ("rules", "ordered"),
    [([], False), ([A_ENDS, A_NEEDED, A_GOES_ON], False), ([A_ENDS, A_ONCE], True), ([FIRST_A], True)],
)
def test_ordered(rules: list[dict[str, Any]], ordered: bool) -> None:
    assert ToolRules.read(rules).ordered is ordered


def test_prefilled_arguments_of_a_first_tool_hold_for_the_first_call() -> None:
    rules = ToolRules.read([{**FIRST_A, "args": {"x": 1}}, {**FIRST_A, "args": {"y": None}}, FIRST_A])
    assert rules.prefilled("a", []) == {"x": 1, "y": None}
    assert rules.prefilled("a", [failed("a")]) == {"x": 1, "y": None}
    assert rules.prefilled("a", [ok("a")]) == {}
    assert rules.prefilled("b", []) == {}


def test_prefilled_arguments_of_a_child_hold_after_its_parent() -> None:
    nodes = [{"name": "b", "args": {"x": [1]}}, {"name": "c"}, {"name": "c", "args": None}]
    rules = ToolRules.read([{**A_THEN_BC, "child_arg_nodes": nodes}])
    assert rules.prefilled("b", []) == {}
    assert rules.prefilled("b", [ok("a")]) == {"x": [1]}
    assert rules.prefilled("c", [ok("a")]) == {}
    assert rules.prefilled("b", [ok("a"), ok("c")]) == {}


@pytest.mark.parametrize(
    ("rules", "name", "called", "text"),
    [
        pytest.param(
            [FIRST_A, FIRST_B],
            "c",
            [],
            "c was not run: the first call of a turn has to be of a or b. Tools you may call now: a, b.",
            id="first",
        ),
        pytest.param(
            [A_THEN_BC],
            "d",
            [ok("a")],
            "d was not run: after what a returned only b or c may be called. Tools you may call now: b, c.",
            id="child",
        ),
        pytest.param(
            [A_MAPS_STRICTLY],
            "d",
            [ok("a")],
            "d was not run: after what a returned no tool may be called. You may call no tool now; answer in words.",
            id="conditional",
        ),
        pytest.param(
            [C_AFTER_A],
            "c",
            [],
            "c was not run: it may only be called right after a. Tools you may call now: a, b, d.",
            id="parent",
        ),
        pytest.param(
            [A_ONCE],
            "a",
            [ok("a")],
            "a was not run: it may be called at most 1 time in a turn. Tools you may call now: b, c, d.",
            id="limit",
        ),
        pytest.param(
            [], "z", [], "z was not run: there is no tool 'z'. Tools you may call now: a, b, c, d.", id="no such tool"
        ),
        pytest.param([], "a", [], "a may be called. Tools you may call now: a, b, c, d.", id="allowed"),
    ],
)
def test_refusal_says_why_and_what_may_be_called(
    rules: list[dict[str, Any]], name: str, called: list[Called], text: str
) -> None:
    assert ToolRules.read(rules).explain(name, TOOLS, called) == text


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        pytest.param("run_first", "tool_rules.1: a rule is an object", id="no object"),
        pytest.param({"tool_name": "a"}, "tool_rules.1.type: None is none of run_first, ", id="no type"),
        pytest.param(rule("run_twice", "a"), "tool_rules.1.type: 'run_twice' is none of run_first, ", id="unknown"),
        pytest.param({"type": ["x"]}, "tool_rules.1.type: ['x'] is none of ", id="type is no text"),
        pytest.param({"type": "exit_loop"}, "tool_rules.1.tool_name (exit_loop of None): Field required", id="no tool"),
        pytest.param(rule("exit_loop", ""), "tool_rules.1.tool_name (exit_loop of ''): String should", id="empty tool"),
        pytest.param(
            rule("constrain_child_tools", "a"),
            "tool_rules.1.children (constrain_child_tools of 'a'): Field required",
            id="no children",
        ),
        pytest.param(
            rule("parent_last_tool", "a", children=["b", 7]),
            "tool_rules.1.children.1 (parent_last_tool of 'a'): Input should be a valid string",
            id="child is no text",
        ),
        pytest.param(
            {**A_THEN_B, "child_arg_nodes": [{"name": "c"}]},
            "tool_rules.1 (constrain_child_tools of 'a'): child_arg_nodes: 'c' is not one of the children",
            id="arguments for no child",
        ),
        pytest.param(rule("conditional", "a"), "tool_rules.1.child_output_mapping (conditional of 'a'): ", id="no map"),
        pytest.param(
            rule("max_count_per_step", "a", max_count_limit="3"),
            "tool_rules.1.max_count_limit (max_count_per_step of 'a'): Input should be a valid integer",
            id="limit is text",
        ),
        pytest.param(
            rule("max_count_per_step", "a", max_count_limit=-1),
            "tool_rules.1.max_count_limit ",
            id="limit below nought",
        ),
    ],
)
def test_malformed_rule_is_refused_by_name(wrong: Any, message: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        ToolRules.read([A_ENDS, wrong])
    assert refused.value.message.startswith(message)


def test_unknown_keys_are_ignored() -> None:
    assert ToolRules.read([{**A_ENDS, "new": 1}]) == ToolRules.read([A_ENDS])


names = st.sampled_from([*TOOLS, "gone"])
several = st.lists(names, max_size=3)
outputs = st.sampled_from(["yes", "no", "perhaps"])
any_rule = st.one_of(
    st.builds(rule, st.sampled_from(["run_first", "continue_loop", "exit_loop", "required_before_exit"]), names),
    st.builds(rule, st.sampled_from(["constrain_child_tools", "parent_last_tool"]), names, children=several),
    st.builds(
        rule,
        st.just("conditional"),
        names,
        child_output_mapping=st.dictionaries(outputs, names, max_size=2),
        default_child=st.none() | names,
        require_output_mapping=st.booleans(),
    ),
    st.builds(rule, st.just("max_count_per_step"), names, max_count_limit=st.integers(0, 3)),
)
any_rules = st.lists(any_rule, max_size=6)
any_tools = st.lists(st.sampled_from(TOOLS), unique=True)
any_calls = st.lists(st.builds(Called, names, outputs, st.booleans()), max_size=6)


@given(any_rules, any_tools, any_calls)
def test_allowed_are_some_of_the_tools_and_demands_can_be_met(
    rules: list[dict[str, Any]], tools: list[str], called: list[Called]
) -> None:
    read = ToolRules.read(rules)
    allowed = read.allowed(tools, called)
    assert allowed == [name for name in tools if name in allowed]
    assert allowed or not read.must_call(tools, called)
    forced = read.forced(tools, called)
    assert forced is None or allowed == [forced]
    missing = read.missing_before_exit(tools, called)
    assert set(missing) <= set(tools)
    assert allowed or not missing
    for name in tools:
        assert read.explain(name, tools, called).startswith(
            f"{name} may be called." if name in allowed else f"{name} was not run: "
        )


@given(any_tools, any_calls)
def test_without_rules_everything_is_allowed_and_nothing_demanded(tools: list[str], called: list[Called]) -> None:
    for read in (ToolRules(), ToolRules.read([])):
        assert read.allowed(tools, called) == tools
        assert not read.must_call(tools, called)
        assert read.forced(tools, called) is None
        assert not read.ends_turn(called)
        assert read.missing_before_exit(tools, called) == []


@given(any_rules, any_tools, any_calls, names)
def test_terminal_call_ends_the_turn_whatever_else_holds(
    rules: list[dict[str, Any]], tools: list[str], called: list[Called], name: str
) -> None:
    read = ToolRules.read([*rules, rule("exit_loop", name)])
    ended = [*called, ok(name)]
    assert read.ends_turn(ended)
    assert not read.must_call(tools, ended)


@given(any_rules, any_tools, any_calls, names)
def test_failed_call_advances_nothing(
    rules: list[dict[str, Any]], tools: list[str], called: list[Called], name: str
) -> None:
    read = ToolRules.read([entry for entry in rules if entry["type"] != "max_count_per_step"])
    after = [*called, failed(name)]
    assert read.allowed(tools, after) == read.allowed(tools, called)
    assert read.must_call(tools, after) == read.must_call(tools, called)
    assert read.missing_before_exit(tools, after) == read.missing_before_exit(tools, called)


@given(any_rules, any_tools, any_calls)
def test_same_rules_and_calls_give_the_same_answers(
    rules: list[dict[str, Any]], tools: list[str], called: list[Called]
) -> None:
    one, other = ToolRules.read(rules), ToolRules.read(rules)
    assert one == other
    assert one.allowed(tools, called) == one.allowed(tools, called) == other.allowed(tools, called)
    assert one.forced(tools, called) == other.forced(tools, called)
