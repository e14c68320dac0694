"""What speaks to the outside: NATS, workflow engines, the command line.

Of `deployments` it imports values, settings, services and errors. Each room below says more;
tests/unit/test_architecture.py holds it.
"""
