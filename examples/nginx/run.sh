#!/bin/sh
# Serves an image of nginx: run.sh IMAGE.tar IMAGE.json [PORT]
set -eu
exec runvm "$1" --config "$2" -p "${3:-8080}:80"
