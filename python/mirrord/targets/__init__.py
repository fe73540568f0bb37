"""What to run as: the grammar of a target's path, and how a workload's name becomes one container of one pod.

`grammar` is pure and runs before anything else; `resolve` asks the cluster through `mirrord.kube`.
"""

from mirrord.targets.grammar import Demo, Process, Target, Targetless, Unqualified, Workload, parse

__all__ = ["Demo", "Process", "Target", "Targetless", "Unqualified", "Workload", "parse"]
