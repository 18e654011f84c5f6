"""The contact_policy node: the policies' steps, as far as their candidates are left."""

from collections.abc import Callable, Iterator

from executor.flow.candidates import Pair
from executor.flow.conditions import Condition
from executor.flow.inputs import Metric
from executor.flow.leaves import Verdict, leaves
from executor.flow.nodes import ContactPolicyNode
from executor.flow.operators import Op, quoted
from executor.flow.policy_scopes import PolicyContext
from executor.flow.policy_steps import PolicyStep, compile_policies
from executor.flow.work import LimitDraft, Work


def apply_policies(work: Work, node: ContactPolicyNode) -> None:
    """Withhold what the policies withhold; what cannot be evaluated is withheld and counted."""
    setting = work.setting
    context = PolicyContext.of(work.catalog, setting.now, setting.zone)
    notes = []
    for step in compile_policies(work.catalog.policies, work.pairs, context):
        work.metrics.update({metric.name: metric for metric in step.metrics})
        if step.condition is True or not step.positions:
            notes.append(f"policy {quoted(step.name)}: {step.label}")
        else:
            verdicts = [(work.pairs[one], step.condition) for one in step.positions]
            work.need(node, _label(step), verdicts, policy_key=step.policy_key)
            work.limits.extend(_limits(work, step))
    text = f"all active policies ({len(work.catalog.policies)}), highest priority first"
    work.note(node, text, notes)


def _label(step: PolicyStep) -> Callable[[Condition | bool], str]:
    return lambda _: f"{step.name}: {step.label}"


def _limits(work: Work, step: PolicyStep) -> Iterator[LimitDraft]:
    """What the run itself may give before the policy would withhold it.

    A policy looks at what was given before; what the run gives counts like it, one after the other.
    """
    if isinstance(step.condition, bool):
        return
    metrics = {metric.name: metric for metric in step.metrics}
    concerned = _concerned(work, step)
    for leaf in leaves(step.condition):
        metric = metrics.get(leaf.field)
        if metric is None or not _counts_itself(metric, work.setting.campaign_key):
            continue
        counts = tuple(pair for pair in work.pairs if _is_of(metric, pair))
        for condition, closes in concerned.items():
            if metric.aggregate == "last" and leaf.operator is Op.GTE:
                yield LimitDraft(None, 1, counts, tuple(closes), condition)
            elif metric.aggregate == "count" and leaf.operator in _MOST:
                most = int(leaf.operand) + _MOST[leaf.operator]  # type: ignore[arg-type]
                yield LimitDraft(metric.name, most, counts, tuple(closes), condition)


def _concerned(work: Work, step: PolicyStep) -> dict[Verdict, list[Pair]]:
    """The policy's candidates, by the customers whom the node concerns with them."""
    found: dict[Verdict, list[Pair]] = {}
    for position in step.positions:
        pair = work.pairs[position]
        guard = work.guard(pair)
        if guard is not False:
            found.setdefault(guard, []).append(pair)
    return found


#: How many more than its operand an operator lets a count become.
_MOST = {Op.LT: 0, Op.LTE: 1}


def _counts_itself(metric: Metric, campaign_key: int) -> bool:
    """Whether the contacts of the run are of those that the metric counts."""
    is_of = not metric.campaigns or campaign_key in metric.campaigns
    return metric.source == "contacts" and is_of and campaign_key not in metric.without_campaigns


def _is_of(metric: Metric, pair: Pair) -> bool:
    return (
        (not metric.offers or pair.offer.key in metric.offers)
        and (not metric.channels or pair.channel.key in metric.channels)
        and (not metric.creatives or pair.creative_key in metric.creatives)
    )
