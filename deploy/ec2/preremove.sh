#!/bin/sh
# An upgrade calls this, too (deb: "upgrade", rpm: 1), and must not stop what it replaces.
set -e
case "${1:-remove}" in
upgrade | 1) exit 0 ;;
esac
if [ -d /run/systemd/system ]; then
	systemctl --no-reload disable --now vpcprobe.service
fi
