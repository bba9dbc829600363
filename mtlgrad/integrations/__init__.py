"""Adapters for training frameworks. Each is a few lines around the Balancer, and none is imported by the library.

- `mtlgrad.integrations.lightning`: `MultiLossMixin`, `MonitorCallback`
- `mtlgrad.integrations.transformers`: `MultiLossMixin`, `MonitorMixin`
- `mtlgrad.integrations.accelerate`: `backward`
- `mtlgrad.integrations.monitor`: `ConflictMonitor`, which works in a loop of any kind
"""
