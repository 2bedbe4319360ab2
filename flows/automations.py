"""The two automations that gates need in Prefect.

One tells people that a gate waits. The other marks a run crashed whose process died: it hears
no heartbeat for longer than two of them are apart. A run that waits at a gate sends none either,
so *Suspended* is among what it expects, and so is *Rejected*, a state of our own.

`prefect deploy` makes them as a build step (see prefect.yaml), `ratify serve` by itself. Made
again, they replace those of the same name.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.events.actions import CallWebhook, ChangeFlowRunState, DoNothing, SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.states import StateType

from prefect_ratify.errors import InputError, RatifyError, one_line
from prefect_ratify.flows.path import FLOW

WAITS, DIED = "ratify: a gate waits", "ratify: a run died"
SUBJECT = "A gate waits for a decision"
# Without the run's name, which anybody may have chosen: it cannot be escaped for every messenger.
BODY = "A run of {{ flow.name }} waits for a decision: {{ flow_run | ui_url }}"
PAYLOAD = (
    '{"text": {{ ("A run waits for a decision: " ~ (flow_run | ui_url)) | tojson }},'
    ' "project": {{ flow_run.name | tojson }}, "flow_run": "{{ flow_run.id }}",'
    ' "url": {{ flow_run | ui_url | tojson }}}'
)
SILENCE = timedelta(seconds=400)  # Prefect's heartbeats are 180 seconds apart, where nothing else is set
JSON = {"Content-Type": "application/json"}
ENDINGS = ("Completed", "Failed", "Cancelled", "Crashed", "Rejected", "TimedOut", "Suspended", "Paused")
OUR_FLOW = {"prefect.resource.role": "flow", "prefect.resource.name": FLOW}


def create_automations(notify: str = "", webhook: str = "") -> dict[str, str]:
    """Make both; returns their ids by name. With nobody to tell, the one that tells does nothing yet.

    `notify` names a notification block (`slack-webhook/team`), `webhook` is an address that gets
    the message as JSON; it is kept as a secret in a block.
    """
    automations = [_died()]
    with get_client(sync_client=True) as client:
        actions = (
            [SendNotification(block_document_id=_block(client, notify), subject=SUBJECT, body=BODY)] if notify else []
        )
        if webhook:
            actions.append(CallWebhook(block_document_id=_webhook_block(webhook), payload=PAYLOAD))
        automations.append(_waits(actions or [DoNothing()]))
        _delete(client, [WAITS, DIED])
        return {automation.name: str(client.create_automation(automation)) for automation in automations}


def _waits(actions: list[Any]) -> AutomationCore:
    return AutomationCore(
        name=WAITS,
        description="Tell people that a run waits for a decision.",
        trigger=EventTrigger(
            expect={"prefect.flow-run.Suspended", "prefect.flow-run.Paused"},
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related=OUR_FLOW,
            for_each={"prefect.resource.id"},
            posture=Posture.Reactive,
            threshold=1,
            within=timedelta(0),
        ),
        actions=actions,
    )


def _died() -> AutomationCore:
    return AutomationCore(
        name=DIED,
        description="Mark a run crashed that neither works nor waits nor has ended.",
        trigger=EventTrigger(
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.heartbeat", *(f"prefect.flow-run.{name}" for name in ENDINGS)},
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related=OUR_FLOW,
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=SILENCE,
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED,
                message="The run's process sends no heartbeat any more. Retry goes on from there.",
            )
        ],
    )


def _delete(client: SyncPrefectClient, names: Sequence[str]) -> None:
    for old in client.request("POST", "/automations/filter", json={}).json():
        if old["name"] in names:
            client.request("DELETE", "/automations/{id}", path_params={"id": old["id"]}).raise_for_status()


def _block(client: SyncPrefectClient, name: str) -> Any:
    kind, _, block = name.partition("/")
    try:
        return client.read_block_document_by_name(block, kind).id
    except Exception as error:
        raise InputError(
            f"there is no notification block {name!r} ({one_line(str(error), 120)})",
            "make one in the Prefect UI under Blocks, and give kind/name",
        ) from None


def _webhook_block(address: str) -> Any:
    from prefect.blocks.webhook import Webhook

    try:
        return Webhook(method="POST", url=address, headers=JSON, allow_private_urls=True).save(
            "ratify-gates", overwrite=True
        )
    except ValueError as error:
        raise RatifyError(f"the webhook cannot be kept: {one_line(str(error), 200)}") from None
