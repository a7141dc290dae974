#!/bin/sh
# Writes the time into a file, once a second.
while :; do
	date >"$1.new" && mv "$1.new" "$1"
	sleep 1
done
