#!/bin/sh
# Boots an image from memory, without a disk: run.sh IMAGE.tar IMAGE.json [PORT]
# KERNEL and MODULES name a kernel; by default the host's.
set -eu
kernel=${KERNEL:-/boot/vmlinuz-$(uname -r)}
modules=${MODULES:-/lib/modules/$(uname -r)}
mkcpio -o appliance.cpio.gz --rootfs "$1" --config "$2" --modules "$modules" --for virtio
exec qemu-system-x86_64 -nographic -no-reboot -m 512M -kernel "$kernel" -initrd appliance.cpio.gz \
    -append 'console=ttyS0 quiet panic=-1 whit.on_exit=poweroff' \
    -netdev "user,id=net0,hostfwd=tcp:127.0.0.1:${3:-8080}-:80" -device virtio-net-pci,netdev=net0
