#!/bin/sh
# Sees to the Debian packages that the tests use (packages.txt): installs what is missing as root, else says what to do.
here=$(cd "$(dirname "$0")" && pwd)
missing=
for package in $(sed 's/#.*//' "$here/packages.txt"); do
	dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q ' installed$' || missing="$missing $package"
done
[ -z "$missing" ] && exit 0
if ! command -v apt-get >/dev/null; then
	echo "the tests use these programs, under their names in Debian; install them:$missing" >&2
	exit 0
fi
if [ "$(id -u)" != 0 ]; then
	echo "the tests use Debian packages that are missing: sudo apt-get install$missing" >&2
	exit 1
fi
echo "installing the Debian packages that the tests use:$missing"
# no daemon of theirs is started: the tests start their own
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
	printf '#!/bin/sh\nexit 101\n' >$policy && chmod +x $policy && trap 'rm -f $policy' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -q >/dev/null && apt-get install -y -q --no-install-recommends $missing >/dev/null
