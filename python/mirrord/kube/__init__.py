"""The Kubernetes API: the only place that imports the `kubernetes` package.

    package   its kubeconfig, authentication and REST parts, without its seven hundred models
    access    one cluster: address, credentials, default namespace
    api       requests with plain JSON bodies, refusals turned into words for the user
    job       what the agent's objects look like; agent  their life; trouble  why one does not start
    carrier   all of this as the session sees it

Imported late: nothing here may stand between `mirrord --help` and its text. This file imports nothing, because
`package` is imported on a thread of its own while the rest is imported on the main one.
"""
