#!/bin/sh
# Boots an image with a kernel that has its drivers built in: run.sh KERNEL IMAGE.tar PROGRAM [ARG...]
# PROGRAM and ARGs are run in place of what the image names.
set -eu
kernel=$1 image=$2
shift 2
mkcpio -o own.cpio
mkraw -o own.img "$image"
program=$1
shift
exec runvm --kernel "$kernel" --initrd own.cpio --disk own.img --entrypoint "$program" -- "$@"
