#!/bin/sh
# Makes the folder of a network boot that installs an image: make.sh IMAGE.tar IMAGE.json [URL]
# URL is the folder's address for the machines. KERNEL and MODULES name a kernel, by default the host's; PUT is the program put. THEN is what
# follows: kexec, reboot or poweroff.
set -eu
image=$1 config=$2 url=${3:-http://10.0.2.2:8000}
kernel=${KERNEL:-/boot/vmlinuz-$(uname -r)}
modules=${MODULES:-/lib/modules/$(uname -r)}
put=${PUT:-$(command -v put)} || { echo "make.sh: no put in PATH; build it with cargo build-put, and set PUT" >&2; exit 1; }

# The disk: the image, with the kernel and the initramfs that start it.
mkdir -p system/boot netboot
cp "$kernel" system/boot/vmlinuz
mkcpio -o system/boot/initrd --kernel "$kernel" --modules "$modules" --for virtio
cp "$image" system.tar
tar --append --file system.tar --owner=0 --group=0 --directory system boot
mkraw -o os.img --gpt --label system --config "$config" system.tar
zstd --quiet --force os.img -o netboot/os.img.zst

# The installer: put is the workload of a machine without a disk.
mkdir -p installer/bin
cp "$put" installer/bin/put
tar --create --file installer.tar --owner=0 --group=0 --directory installer .
cat >installer.conf <<END
entrypoint /bin/put
cmd $url/os.img.zst
cmd SIZE=largest
cmd --sha256
cmd $(sha256sum netboot/os.img.zst | cut -d ' ' -f 1)
cmd --grow
cmd --then
cmd ${THEN:-kexec}
END
test "${THEN:-kexec}" != kexec || cat >>installer.conf <<END
cmd --kernel
cmd 1:/boot/vmlinuz
cmd --initrd
cmd 1:/boot/initrd
cmd --append
cmd root=LABEL=system whit.grow console=ttyS0 quiet panic=-1
END
mkcpio --netboot netboot --kernel "$kernel" --modules "$modules" --for virtio --rootfs installer.tar --record installer.conf \
    --cmdline 'console=ttyS0 quiet panic=-1 whit.net=require whit.on_exit=poweroff'
