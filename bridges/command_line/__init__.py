"""`hearth`, the command line: a NATS client, and what starts the graph on one machine.

Of `bridges` it imports `subjects`, generated messages and `sessions.turn_log`; of `deployments` values, models and
errors.
"""
