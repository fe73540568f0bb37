"""The `mirrord` command as a process, with a scripted data path: no agent, no cluster, no rights."""
