#!/bin/sh
# Prints the environment of the entrypoint's children, for the test.
echo "show: id $(id -u):$(id -g) $(id -G)"
echo "show: in $(pwd), umask $(umask), open files $(ulimit -Sn)"
echo "show: signals" $(grep -E 'Sig(Blk|Ign)' /proc/self/status | cut -f 2)
env | grep -vE '^(_|PWD|OLDPWD|SHLVL)=' | sort | sed 's/^/show: env /'
