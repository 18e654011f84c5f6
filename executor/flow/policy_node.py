"""The contact_policy node: the policies' steps, as far as their candidates are left."""

from executor.flow.leaves import any_of, negated
from executor.flow.nodes import ContactPolicyNode
from executor.flow.operators import quoted
from executor.flow.policy_scopes import PolicyContext
from executor.flow.policy_steps import PolicyStep, compile_policies
from executor.flow.work import Draft, Work


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
            _withhold(work, node, step)
    text = f"all active policies ({len(work.catalog.policies)}), highest priority first"
    work.note(node, text, notes)


def _withhold(work: Work, node: ContactPolicyNode, step: PolicyStep) -> None:
    drafts: dict[object, Draft] = {}
    for position in step.positions:
        pair = work.pairs[position]
        condition = any_of((negated(work.guard(pair)), step.condition))
        if condition is True:
            continue
        if condition not in drafts:
            drafts[condition] = Draft(
                stage=node.type,
                node=node.id,
                label=f"{step.name}: {step.label}",
                policy_key=step.policy_key,
                condition=condition,
            )
        drafts[condition].pairs.append(pair)
    work.drafts.extend(drafts.values())
