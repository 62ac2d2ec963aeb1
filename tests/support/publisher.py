"""Someone who publishes to an MQTT broker, by Paho's own loop."""

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion


class Publisher:
    """Publishes, and waits until the broker has what was to be kept."""

    def __init__(self, port, **more):
        self.client = Client(CallbackAPIVersion.VERSION2)
        for name, value in more.items():
            getattr(self.client, name)(*value)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    def __call__(self, topic, payload, qos=0, *, retain=False):
        """Publish one message."""
        told = self.client.publish(topic, payload, qos, retain)
        told.wait_for_publish(30)
        assert told.is_published()

    def close(self):
        """End it."""
        self.client.disconnect()
        self.client.loop_stop()

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.close()
