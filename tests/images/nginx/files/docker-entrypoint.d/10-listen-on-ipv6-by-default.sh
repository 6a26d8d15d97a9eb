#!/bin/sh
# As in the stock image: IPv6 if the kernel has it.
set -e

test -f "/proc/net/if_inet6" || exit 0
sed -i -E 's,listen       80;,listen       80;\n    listen  [::]:80;,' /etc/nginx/conf.d/default.conf
echo "$0: info: Enabled listen on IPv6 in /etc/nginx/conf.d/default.conf"
