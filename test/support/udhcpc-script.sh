#!/bin/sh
# Prints what udhcpc got.
[ "$1" = bound ] && echo "bound $ip $subnet $router $dns $hostname $domain $lease $serverid"
exit 0
