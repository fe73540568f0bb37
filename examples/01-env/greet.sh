#!/bin/sh
# The variable is set in the target, nowhere else.
echo "Welcome to ${SHOP_NAME:-nowhere in particular}"
