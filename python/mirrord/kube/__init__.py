"""The Kubernetes API: the only place that imports the `kubernetes` package.

    package   its kubeconfig, authentication and REST parts, without its seven hundred models
    access    one cluster: address, credentials, default namespace
    api       requests with plain JSON bodies, refusals turned into words for the user
    job       what the agent's objects look like; agent  their life; trouble  why one does not start

Imported late: nothing here may stand between `mirrord --help` and its text.
"""

from mirrord.kube.access import Access, connect
from mirrord.kube.agent import AgentJob
from mirrord.kube.api import Api

__all__ = ["Access", "AgentJob", "Api", "connect"]
