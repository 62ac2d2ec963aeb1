"""Links to peers, which sources and sinks share: addresses, TLS, waiting before the next attempt, clients of brokers."""
