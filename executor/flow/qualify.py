"""The qualify node: hard rules remove candidates, soft ones make them worth less."""

from executor.errors import Rejected
from executor.flow.candidates import Pair
from executor.flow.catalog import RuleFacts
from executor.flow.conditions import Condition
from executor.flow.leaves import Verdict, all_of, any_of, negated
from executor.flow.nodes import QualifyNode
from executor.flow.operators import quoted
from executor.flow.plan import Penalty
from executor.flow.propensity import rule_propensity
from executor.flow.rules import Facts, Rule, compile_rule, in_order
from executor.flow.scopes import concerned
from executor.flow.work import Work


def qualify(work: Work, node: QualifyNode) -> None:
    """Apply all rules. Raises Rejected with every fault of every rule."""
    errors: list[tuple[str, str]] = []
    notes: list[str] = []
    facts = Facts(
        kinds=work.kinds,
        now=work.setting.now,
        zone=work.setting.zone,
        pairs=list(work.pairs),
        flags=work.flags,
        propensity=lambda model, pair: rule_propensity(work, model, pair),
        metrics=work.metrics,
    )
    for rule in in_order(work.catalog.rules):
        try:
            notes.extend(_apply(work, node, rule, compile_rule(rule, facts)))
        except Rejected as error:
            errors.extend(error.errors)
    if errors:
        raise Rejected.of(errors)
    text = f"all active rules ({len(work.catalog.rules)}), highest priority first"
    work.note(node, text, notes)


def _apply(work: Work, node: QualifyNode, facts: RuleFacts, rule: Rule) -> list[str]:
    """Apply a rule and return what the plan says about it besides its step."""
    name = f"rule {quoted(facts.name)}"
    scope = [(pair, concerned(facts, pair, work.flags)) for pair in work.pairs]
    scope = [(pair, whom) for pair, whom in scope if whom is not False]
    if not scope:
        return [f"{name}: no candidate in its scope"]
    verdicts = [(pair, any_of((negated(whom), rule.test(pair)))) for pair, whom in scope]
    if all(verdict is True for _, verdict in verdicts):
        return [f"{name}: lets every customer pass"]
    if rule.multiplier is None:

        def label(condition: Condition | bool) -> str:
            return f"{name} lets no customer pass" if condition is False else facts.name

        work.need(node, label, verdicts, facts.key)
        return []
    return _soften(work, facts, rule.multiplier, verdicts)


def _soften(
    work: Work, facts: RuleFacts, multiplier: float, verdicts: list[tuple[Pair, Verdict]]
) -> list[str]:
    """A candidate that fails the rule is worth less, once however many nodes apply the rule."""
    for pair, verdict in verdicts:
        whole = any_of((negated(work.guard(pair)), verdict))
        if whole is True:
            continue
        before = work.penalties.setdefault(pair.name, [])
        same = next((one for one in before if one.rule_key == facts.key), None)
        if same is not None:
            before.remove(same)
            whole = all_of((same.condition, whole))
        before.append(Penalty(whole, multiplier, facts.name, facts.key))
    count = len(verdicts)
    text = f"{count} candidate{'' if count == 1 else 's'}: times {multiplier:g} where it fails"
    return [f"rule {quoted(facts.name)}: {text}"]
