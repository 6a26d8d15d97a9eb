#!/bin/sh
# As in the stock image: for nginx, runs the scripts in /docker-entrypoint.d, then the command.
set -e

if [ "$1" = "nginx" ] || [ "$1" = "nginx-debug" ]; then
    if find "/docker-entrypoint.d/" -mindepth 1 -maxdepth 1 -type f -print -quit | read -r _; then
        find "/docker-entrypoint.d/" -follow -type f -print | sort -V | while read -r file; do
            if [ -x "$file" ]; then
                echo "$0: Launching $file"
                "$file"
            else
                echo "$0: Ignoring $file, not executable"
            fi
        done
        echo "$0: Configuration complete; ready for start up"
    else
        echo "$0: No files found in /docker-entrypoint.d/, skipping configuration"
    fi
fi

exec "$@"
