"""Someone who listens to an MQTT broker, by Paho's own loop; its session outlives the broker."""

import threading

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion


class Subscriber:
    """Keeps all messages of a filter, as (topic, payload, retained), in order."""

    def __init__(self, port, topics="#", qos=1, **more):
        self.found = []
        self.ready = threading.Event()
        self.client = Client(
            CallbackAPIVersion.VERSION2, client_id="subscriber", clean_session=False
        )
        for name, value in more.items():
            getattr(self.client, name)(*value)
        self.client.reconnect_delay_set(1, 1)
        self.client.on_connect = lambda client, *_: client.subscribe(topics, qos)
        self.client.on_subscribe = lambda *_: self.ready.set()
        self.client.on_message = lambda _client, _data, m: self.found.append(
            (m.topic, m.payload, m.retain)
        )
        self.client.connect("127.0.0.1", port, keepalive=5)
        self.client.loop_start()
        assert self.ready.wait(20)

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.client.disconnect()
        self.client.loop_stop()
