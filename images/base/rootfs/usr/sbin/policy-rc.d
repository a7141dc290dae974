#!/bin/sh
# Packages must not start their daemons when they are installed into an image; s6 does that in the container.
exit 101
