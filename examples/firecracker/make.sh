#!/bin/sh
# Makes disk.img and initramfs.cpio for config.json: make.sh IMAGE.tar IMAGE.json
# MODULES names the modules of the kernel; by default the host's.
set -eu
mkraw -o disk.img --config "$2" "$1"
mkcpio -o initramfs.cpio --modules "${MODULES:-/lib/modules/$(uname -r)}" --for firecracker
