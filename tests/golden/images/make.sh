#!/bin/bash
# make.sh FOLDER: makes the archives of this folder in FOLDER by the programs that they are of, as root, and without a network: umoci,
# skopeo, buildah, podman, Go, Python, busybox, bsdtar. A program that is not installed is left out.
#
# image-*.tar.zst have the same root, which umoci unpacks: image.list. Each NAME.list is what GNU tar extracts from NAME.tar.zst, and
# bsdtar from its own: GNU tar gives directories other times where their files are not beside them.
# A line has mode, user, group, time, content and path; the content is a link's target or the start of a file's SHA-256.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=$(mkdir -p "$1" && cd "$1" && pwd)
work=$out/work
rm -rf "$work" && mkdir "$work" && cd "$work"
has() { command -v "$1" >/dev/null; }

list() { # FOLDER
    (cd "$1" && find . -mindepth 1 | LC_ALL=C sort | while IFS= read -r path; do
        content=-
        if [ -L "$path" ]; then content=$(readlink "$path")
        elif [ -f "$path" ]; then content=$(sha256sum < "$path" | head -c 16); fi
        printf '%s %s %s\n' "$(stat -c '%f %u %g %.9Y' "$path")" "$content" "${path#./}"
    done)
}
pack() { zstd -19 -q -f -o "$out/$1.tar.zst"; } # NAME, of standard input
folder() { tar -C "$2" --sort=name -c . | pack "$1"; }
same_times() { find "$1" -exec touch -h -d "@$2" {} +; }

# A root of three layers: the second replaces, hides and empties.
tree() {
    mkdir -p bin d/sub emptied/old gone && chmod 1777 d/sub
    echo program > bin/p && chmod 4755 bin/p && ln bin/p bin/hard
    ln -s ../bin/p d/link && ln -s "$(printf 't%.0s' $(seq 140))" d/far
    echo long > "d/$(printf 'n%.0s' $(seq 150))" && echo umlaut > d/ü
    truncate -s 300K d/sparse && echo middle | dd of=d/sparse bs=1 seek=131072 conv=notrunc status=none
    mknod d/null c 1 3 && mknod d/disk b 259 1048575 && mkfifo d/fifo
    echo old > emptied/old/f && echo g > gone/f && echo r > replaced && echo x > becomes-a-folder
    chown 7:8 d/link && chown 70000:80000 d/ü
    same_times . 1000000000 && touch -d @100 d/ü && touch -d @5000000000 bin/p
}
change() {
    rm -r emptied gone becomes-a-folder && mkdir emptied becomes-a-folder
    echo new > emptied/new && echo newer > replaced && echo in > becomes-a-folder/in
    touch -d @1100000000 emptied/* emptied replaced becomes-a-folder/* becomes-a-folder .
}

images() {
    echo '{"default": [{"type": "insecureAcceptAnything"}]}' > policy.json
    umoci init --layout u && umoci new --image u:base && umoci unpack --image u:base first
    (cd first/rootfs && tree) && umoci repack --image u:one first
    umoci unpack --image u:one second && (cd second/rootfs && change) && umoci repack --image u:two second
    umoci config --image u:two --config.cmd /bin/p
    umoci unpack --image u:two ref
    list ref/rootfs > "$out/image.list"
    if has skopeo; then skopeos; fi
    for tag in base one; do umoci rm --image u:$tag; done
    umoci gc --layout u && folder image-umoci u
}
skopeos() {
    copy() { skopeo --policy policy.json copy -q "$@"; }
    copy oci:u:two oci:s-oci:web && folder image-skopeo-oci s-oci
    copy oci:u:two oci-archive:s.tar:web && pack image-skopeo-oci-archive < s.tar && rm s.tar
    copy oci:u:two docker-archive:s.tar:web:1 && pack image-skopeo-docker-archive < s.tar
    copy oci:u:two dir:s-dir && folder image-skopeo-dir s-dir
    copy --format v2s2 oci:u:two dir:s-v2s2 && folder image-skopeo-dir-v2s2 s-v2s2
    copy --format v2s1 oci:u:two dir:s-v2s1 && folder refused-skopeo-dir-v2s1 s-v2s1
    copy --dest-decompress oci:u:two dir:s-plain && folder image-skopeo-dir-plain s-plain
    copy --dest-compress --dest-compress-format zstd dir:s-plain oci:s-zstd:web && folder image-skopeo-oci-zstd s-zstd
    if has buildah && has podman; then stores; fi
}
stores() {
    store="--root $work/store --runroot $work/run --storage-driver vfs"
    copy oci:u:two "containers-storage:[vfs@$work/store+$work/run]localhost/two:1"
    container=$(buildah $store --signature-policy policy.json from scratch)
    cp -a ref/rootfs/. "$(buildah $store mount "$container")" && buildah $store umount "$container" >/dev/null
    buildah $store config --cmd /bin/p "$container"
    commit() { buildah $store commit -q --signature-policy policy.json "$@"; }
    commit "$container" oci-archive:b.tar:web && pack image-buildah-oci-archive < b.tar && rm b.tar
    commit --format docker "$container" docker-archive:b.tar:web:2 && pack image-buildah-docker-archive < b.tar
    commit "$container" localhost/web:3
    for format in docker-archive oci-archive; do
        podman $store save -q --format $format -o p-$format localhost/two:1 && pack image-podman-$format < p-$format
    done
    for format in docker-dir oci-dir; do
        podman $store save -q --format $format -o p-$format localhost/two:1 && folder image-podman-$format p-$format
    done
    podman $store save -q -m -o p.tar localhost/two:1 localhost/web:3 && pack image-podman-multi < p.tar
}

archive() { # NAME, of standard input
    cat > archive.tar && pack "$1" < archive.tar
    mkdir extracted && if [[ $1 == bsdtar* ]]; then bsdtar -C extracted --numeric-owner -xpf archive.tar
    else tar -C extracted --numeric-owner --xattrs --xattrs-include='*' -xpf archive.tar 2>/dev/null; fi
    list extracted > "$out/$1.list" && rm -r extracted
}
archives() {
    mkdir tree && (cd tree && tree)
    if has go; then
        for format in ustar pax gnu any; do
            GOCACHE=$work/go GO111MODULE=off go run "$here/archive.go" $format | archive go-$format
        done
    fi
    cd tree
    if has python3; then
        for format in USTAR GNU PAX; do
            python3 -c "if True:
                import sys, tarfile
                with tarfile.open(fileobj=sys.stdout.buffer, mode='w|', format=tarfile.${format}_FORMAT) as tar:
                    tar.add('.', filter=lambda entry: None if '$format' == 'USTAR' and (len(entry.name) > 100 or entry.name in ('./d/ü', './bin/p', './bin/hard', './d/disk', './d/far')) else entry)
            " | (cd .. && archive python-${format,,})
        done
    fi
    if has busybox; then busybox tar -c . | (cd .. && archive busybox); fi
    if has bsdtar; then
        for format in pax gnutar; do
            bsdtar --format=$format --read-sparse --numeric-owner -cf - . | (cd .. && archive bsdtar-$format)
        done
    fi
}

(archives)
if has umoci; then images; fi
if [ -z "${KEEP_WORK:-}" ]; then rm -rf "$work"; fi
