#!/bin/sh
# Runs PostgreSQL on a disk that keeps its data: run.sh IMAGE.tar IMAGE.json DISK SIZE [PORT]
# DISK is made when it is missing, and enlarged to SIZE when it is smaller.
set -eu
disk=$3
test -e "$disk" || mkraw -o "$disk" --config "$2" "$1"
truncate --size=">$4" "$disk"
exec runvm "$1" --config "$2" --disk "$disk" -m 512M -p "${5:-5432}:5432" --append whit.grow
