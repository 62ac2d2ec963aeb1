"""Messages to an MQTT broker."""

from flowedge.sinks.contract import connector
from flowedge.sinks.mqtt_bus import MqttBus
from flowedge.sinks.row_messages import LAYING, RowMessages
from flowedge.sinks.topics import MQTT
from flowedge.types.connectors import Option, Signature


@connector("mqtt")
class Mqtt(RowMessages):
    """Publish rows to an MQTT broker: ``mqtt("mqtts://host/alarms/{device}/{kind}", qos=1)``.

    Behind the host stands the topic; names of columns in braces are the values of each row (`flowedge.sinks.topics.level` says
    what becomes of ``/``, wildcards and missing ones). A row is one message, a JSON map; ``rows="list"`` or ``rows="columns"``
    puts the rows together that wait, ``batch`` of them at most, in order for each topic. `flowedge.sinks.payloads.Encoder`
    tells of the formats; the source `mqtt` reads all of them.

    Raises
    ------
    SinkError : the broker does not let it in, refuses the topic, or takes no message as long as that of a row
    """

    extra = "mqtt"
    buses = (MqttBus,)
    naming = MQTT
    options = Signature((
        Option("topic", "text", "", "the topic, where it is not in the address"), *LAYING, *MqttBus.options,
    ))  # fmt: skip


__all__ = ["Mqtt"]
