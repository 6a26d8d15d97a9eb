#!/bin/sh
# Measures the two ways of a machine's network inside of a container's network namespace: a tap that tc joins with the interface, which
# whit-runtime takes, and passt. Two machines run beside each other, each in a namespace with one interface; rounds alternate.
# Prints milliseconds for a small answer, and MiB/s for 32 MiB, as medians. As root: bench/passt.sh KERNEL INITRAMFS [ROUNDS]
#
# The initramfs is of mkcpio --modules DIR --module virtio_pci --module virtio_net --rootfs busybox.tar --config JSON, where JSON has as
# the entrypoint
#   sh -c 'busybox dd if=/dev/zero of=/tmp/big bs=1M count=32; echo hello >/tmp/small; exec busybox httpd -f -h /tmp'
set -eu
kernel=$1 initramfs=$2 rounds=${3:-9}
folder=$(mktemp -d)
children=
end() {
    for child in $children; do kill "$child" 2>/dev/null || :; done
    for name in tap passt; do for side in in out; do ip netns del "whit-$name-$side-$$" 2>/dev/null || :; done; done
    rm -rf "$folder"
}
trap end EXIT
trap "exit 1" INT TERM
for name in tap passt; do
    in=whit-$name-in-$$ out=whit-$name-out-$$
    ip netns add "$in"
    ip netns add "$out"
    ip -n "$in" link add eth0 type veth peer name eth0 netns "$out"
    ip -n "$in" addr add 10.9.8.7/24 dev eth0
    ip -n "$out" addr add 10.9.8.1/24 dev eth0
    for side in "$in" "$out"; do ip -n "$side" link set eth0 up; ip -n "$side" link set lo up; done
    ip -n "$in" route add default via 10.9.8.1
    if [ $name = tap ]; then
        ip -n "$in" tuntap add dev whit0 mode tap
        ip -n "$in" link set whit0 up
        for pair in "eth0 whit0" "whit0 eth0"; do
            set -- $pair
            ip netns exec "$in" tc qdisc add dev "$1" ingress
            ip netns exec "$in" tc filter add dev "$1" parent ffff: protocol all u32 match u32 0 0 action mirred egress redirect dev "$2"
        done
        netdev=tap,id=net0,ifname=whit0,script=no,downscript=no
        mac=$(ip -n "$in" -j link show dev eth0 | sed 's/.*"address":"\([^"]*\)".*/\1/')
        word=ip=10.9.8.7::10.9.8.1:255.255.255.0::eth0:off
    else
        ip netns exec "$in" passt --foreground --quiet --runas 0 --socket "$folder/passt" -t 80 >"$folder/passt.log" 2>&1 &
        children="$children $!"
        while ! [ -S "$folder/passt" ]; do kill -0 $!; sleep 0.1; done
        netdev=stream,id=net0,server=off,addr.type=unix,addr.path=$folder/passt
        mac=52:54:00:12:34:56
        word=ip=dhcp
    fi
    ip netns exec "$in" qemu-system-x86_64 -nodefaults -display none -no-reboot -m 256M -serial "file:$folder/$name.console" \
        -kernel "$kernel" -initrd "$initramfs" -append "console=ttyS0 panic=-1 quiet $word" \
        -netdev "$netdev" -device virtio-net-pci,netdev=net0,mac="$mac" &
    children="$children $!"
done
fetch() {
    name=$1 file=$2
    shift 2
    ip netns exec "whit-$name-out-$$" curl --silent --show-error --fail --output /dev/null "$@" \
        --write-out '%{time_total} %{speed_download}\n' "http://10.9.8.7/$file"
}
for name in tap passt; do
    fetch $name small --retry 60 --retry-all-errors --retry-delay 1 >/dev/null
done
for round in $(seq "$rounds"); do
    for name in tap passt; do
        fetch $name small | cut -d' ' -f1 >>"$folder/$name.small"
        fetch $name big | cut -d' ' -f2 >>"$folder/$name.big"
    done
done
median() { sort -n "$1" | sed -n "$(((rounds + 1) / 2))p"; }
echo "rounds    $rounds, medians; $(qemu-system-x86_64 --version | head -1); $(passt --version | head -1)"
for name in tap passt; do
    median "$folder/$name.small" | awk -v name=$name '{printf "%-8s a small answer %6.1f ms", name, $1 * 1000}'
    median "$folder/$name.big" | awk '{printf ", 32 MiB from the machine %6.1f MiB/s\n", $1 / 1048576}'
done
