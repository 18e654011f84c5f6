"""Whose turn it is: a tenant's runs that apply contact policies go one at a time, as SQL.

The next run must see the contacts of the one before, which are true once that has ended. A run
has its turn from its first claim to its end, also while it is paused or put back; one that is
paused before it was ever claimed waits for nobody and nobody waits for it.
"""

#: Held while a run is given its turn, together with the tenant's number.
TURN_LOCK = 0x6B616970

# Whether the flow of a run applies contact policies: as its spec has it, or before there is a spec,
# as the flow stands now. A flow that calls others may find the node there.
APPLIES = """
(CASE WHEN {run}.spec IS NOT NULL THEN {run}.has_policies ELSE coalesce((
  SELECT jsonb_path_exists(version.config,
    '$.nodes.**.type ? (@ == "contact_policy" || @ == "call_flow")')
  FROM campaigns_flowversion AS version
  WHERE version.flow_id = coalesce({run}.flow_id, (
    SELECT campaign.flow_id FROM campaigns_campaign AS campaign
    WHERE campaign.id = {run}.campaign_id))
  ORDER BY version.version DESC LIMIT 1), false) END)
"""

# Whether the run's next step is the one for which it needs its turn. A dry run makes no contacts
# and reads the history as it is, so it needs none.
_NEEDS_TURN = f"""
({{run}}.phase = 'claim' AND {{run}}.status IN ('pending', 'running')
  AND NOT {{run}}.dry_run AND NOT {{run}}.policy_turn AND {APPLIES})
"""

# The run that has the turn, and those that come before in the queue. What waits for an earlier run
# of its own campaign is not in the queue: that may be the very run that asks.
_AHEAD = f"""
FROM campaigns_campaignrun AS ahead
WHERE ahead.tenant_id = {{run}}.tenant_id AND ahead.id <> {{run}}.id
  AND ahead.status IN ('pending', 'running', 'paused', 'cancelling')
  AND (ahead.policy_turn
    OR (-ahead.priority, ahead.created_at, ahead.id)
      < (-{{run}}.priority, {{run}}.created_at, {{run}}.id)
    AND {_NEEDS_TURN.format(run="ahead")}
    AND NOT (ahead.in_turn AND ahead.status = 'pending' AND EXISTS (
      SELECT FROM campaigns_campaignrun AS before
      WHERE before.campaign_id = ahead.campaign_id AND before.run_number < ahead.run_number
        AND NOT before.dry_run
        AND before.status IN ('pending', 'running', 'paused', 'cancelling'))))
"""


def applies(run: str) -> str:
    """A condition: the run (an alias) applies contact policies."""
    return APPLIES.format(run=run)


def must_wait(run: str) -> str:
    """A condition: it is another run's turn."""
    return f"({_NEEDS_TURN.format(run=run)} AND EXISTS (SELECT {_AHEAD.format(run=run)}))"


def ahead_of(run: str) -> str:
    """A subselect of the key of the run that is waited for; null if for none."""
    return (
        f"(SELECT ahead.id {_AHEAD.format(run=run)} AND {_NEEDS_TURN.format(run=run)}"
        " ORDER BY ahead.policy_turn DESC, ahead.priority DESC, ahead.created_at, ahead.id LIMIT 1)"
    )
