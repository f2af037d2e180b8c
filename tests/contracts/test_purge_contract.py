"""What a purge takes out of the log besides the text."""

from __future__ import annotations

from memory.agemem import AgeMem
from tests.memory.support import HandClock, Place


async def test_the_key_of_a_purged_text_is_gone_and_still_recognised(
    place: Place, clock: HandClock
) -> None:
    async with AgeMem(store=place.store(), clock=clock) as memory:
        entry = (await memory.add("a secret", idempotency_key="secret-17")).id
        await memory.purge(entry)
        (added, _) = await (await memory.store()).operations()
        assert added.request is None
        assert "secret" not in str(added)
        await memory.add("a secret", idempotency_key="secret-17")
        assert await memory.list() == ()  # no second entry under a key that was used
        assert await memory.check() == ()
