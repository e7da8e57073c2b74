"""Tell people when a collection is stale, or when a check or the error budget refused a new version.

    python notify.py slack-webhook/data-team

The argument is a notification block of the Prefect server, as `type/name`. Run it once; run again, it changes nothing.
"""

from __future__ import annotations

import sys

from prefect.client.orchestration import get_client
from prefect.events.actions import SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger

NAME = "rasterloom: tell people"


def main(block: str) -> None:
    kind, _, name = block.partition("/")
    with get_client(sync_client=True) as client:
        if client.read_automations_by_name(NAME):
            return
        document = client.read_block_document_by_name(name, kind)
        trigger = EventTrigger(
            expect={"rasterloom.collection.stale", "rasterloom.collection.refused"},
            for_each={"prefect.resource.id"},  # of each collection by itself
        )
        body = "{{ event.event }}\n{{ event.payload.message or event.payload.reason }}"
        action = SendNotification(block_document_id=document.id, subject="{{ event.resource.name }}", body=body)
        client.create_automation(AutomationCore(name=NAME, trigger=trigger, actions=[action]))


if __name__ == "__main__":
    main(sys.argv[1])
