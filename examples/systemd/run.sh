#!/bin/sh
# Boots an image with its own init, systemd, as PID 1: run.sh IMAGE.tar DISK
set -eu
test -e "$2" || mkraw -o "$2" --entrypoint /sbin/init "$1"
exec runvm "$1" --disk "$2" -m 512M --append whit.pid1=exec
