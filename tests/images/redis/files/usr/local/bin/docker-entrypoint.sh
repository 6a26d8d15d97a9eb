#!/bin/sh
# As in the stock image: an option or a file is passed to redis-server; as root it gives the data to the user redis, and becomes it.
set -e

if [ "${1#-}" != "$1" ] || [ "${1%.conf}" != "$1" ]; then
    set -- redis-server "$@"
fi

if [ "$1" = 'redis-server' ] && [ "$(id -u)" = '0' ]; then
    find . \! -user redis -exec chown redis '{}' +
    exec setpriv --reuid=redis --regid=redis --clear-groups "$0" "$@"
fi

um="$(umask)"
if [ "$um" = '0022' ]; then
    umask 0077
fi
echo "$0: $(id) in $(pwd), umask $um"

exec "$@"
