// Writes the archive of one format of Go's archive/tar to standard output.
package main

import (
	"archive/tar"
	"os"
	"strings"
	"time"
)

func main() {
	formats := map[string]tar.Format{"ustar": tar.FormatUSTAR, "pax": tar.FormatPAX, "gnu": tar.FormatGNU, "any": tar.FormatUnknown}
	name := os.Args[1]
	format, w, day := formats[name], tar.NewWriter(os.Stdout), time.Unix(1000000000, 0)
	add := func(h tar.Header, content string) {
		h.Format, h.Size = format, int64(len(content))
		if h.ModTime.IsZero() {
			h.ModTime = day
		}
		if err := w.WriteHeader(&h); err != nil {
			panic(err)
		}
		w.Write([]byte(content))
	}
	add(tar.Header{Typeflag: tar.TypeDir, Name: "d/", Mode: 0o1755, Uid: 7, Gid: 8}, "")
	add(tar.Header{Typeflag: tar.TypeReg, Name: "d/file", Mode: 0o4755, Uid: 1000, Gid: 1000, Uname: "none", Gname: "none"}, "content")
	add(tar.Header{Typeflag: tar.TypeLink, Name: "d/hard", Linkname: "d/file"}, "")
	add(tar.Header{Typeflag: tar.TypeSymlink, Name: "d/link", Linkname: "/d/file", Mode: 0o777}, "")
	add(tar.Header{Typeflag: tar.TypeDir, Name: strings.Repeat("p", 90) + "/", Mode: 0o700}, "")
	add(tar.Header{Typeflag: tar.TypeReg, Name: strings.Repeat("p", 90) + "/" + strings.Repeat("n", 90), Mode: 0o600}, "split")
	add(tar.Header{Typeflag: tar.TypeChar, Name: "d/null", Mode: 0o666, Devmajor: 1, Devminor: 3}, "")
	add(tar.Header{Typeflag: tar.TypeBlock, Name: "d/disk", Mode: 0o600, Devmajor: 259, Devminor: 0o777777}, "")
	add(tar.Header{Typeflag: tar.TypeFifo, Name: "d/fifo", Mode: 0o600}, "")
	if name != "ustar" {
		add(tar.Header{Typeflag: tar.TypeReg, Name: "d/" + strings.Repeat("é", 120), Mode: 0o644, Uid: 3000000, Gid: 3000000, ModTime: time.Unix(100, 0)}, "long")
		add(tar.Header{Typeflag: tar.TypeSymlink, Name: "d/far", Linkname: strings.Repeat("t/", 150), Mode: 0o777, ModTime: time.Unix(20000000000, 0)}, "")
		add(tar.Header{Typeflag: tar.TypeReg, Name: "d/\xff\xfe", Mode: 0o644}, "bytes")
	}
	if name == "pax" || name == "any" {
		add(tar.Header{Typeflag: tar.TypeReg, Name: "d/records", Mode: 0o644, ModTime: time.Unix(5, 123456789), PAXRecords: map[string]string{
			"SCHILY.xattr.user.bytes": "a=b\n\x01", "SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00\x04" + strings.Repeat("\x00", 14)}}, "records")
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
}
