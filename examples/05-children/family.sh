#!/bin/sh
# A child, a grandchild, and one that starts with nothing: all of them see the target's file.
head -n 1 /data/hello.txt
sh -c 'sh -c "head -n 1 /data/hello.txt"'
env -i /bin/cat /data/hello.txt
