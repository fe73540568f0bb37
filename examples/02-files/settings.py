#!/usr/bin/env python3
"""Reads its configuration where the container image has it."""

import json
import pathlib

settings = json.loads(pathlib.Path("/app/config/settings.json").read_text())
print(f"{settings['discount']} % off, in {settings['currency']}")
