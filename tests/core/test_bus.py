"""The doorbell."""

from __future__ import annotations

from rarera_sim.adapters.memory import MemoryBus, MemoryLog
from rarera_sim.core.bus import EVERYTHING, notification, topic_of
from rarera_sim.core.event import Event, Recorded
from rarera_sim.core.subscription import Subscription

EVENT = Event("EWR/UA1", "departed", {"delay_min": 3}, source="EWR", sequence=1, time=7)


def test_a_notification_carries_id_time_and_content_to_the_topic_of_the_type():
    said = notification(Recorded(4, EVENT))
    assert (said.topic, said.position, said.id, said.time, said.content) == (
        "event.departed",
        4,
        EVENT.id,
        7,
        {"delay_min": 3},
    )


def test_each_listener_hears_its_topics_in_order_until_it_stops():
    bus, heard = MemoryBus(), []
    stop = bus.listen([topic_of("departed")], lambda said: heard.append(("departed", said.position)))
    bus.listen([topic_of("arrived")], lambda said: heard.append(("arrived", said.position)))
    bus.listen([EVERYTHING], lambda said: heard.append(("all", said.position)))
    bus.publish([notification(Recorded(1, EVENT)), notification(Recorded(2, EVENT))])
    assert heard == [("departed", 1), ("all", 1), ("departed", 2), ("all", 2)]
    stop()
    stop()
    bus.publish([notification(Recorded(3, EVENT))])
    assert heard[4:] == [("all", 3)]


def test_a_lost_notification_costs_delay_and_no_event():
    bus, log = MemoryBus(), MemoryLog()
    subscription = Subscription(log)
    bus.listen([EVERYTHING], subscription.ring)
    assert subscription.poll() is None
    log.append([EVENT])
    assert subscription.poll() is None, "not rung, so the log is not asked"
    second = Event("EWR/UA1", "departed", {}, source="EWR", sequence=2, time=8)
    bus.publish([notification(recorded) for recorded in log.append([second])])
    assert [subscription.poll().position, subscription.poll().position] == [1, 2]
