#!/bin/sh
# `file:base.qcow2` and `base.qcow2` are the same file on qemu-img's command line. As the name
# of a backing file they are not: a relative name counts from the folder of the image, but behind
# `file:` from the folder in which the program runs. create accepts both, and the image with the
# prefix opens from one folder only.
#
# Seen with qemu-img 7.2.22 (Debian 12) and 11.1.3 (Debian sid). vmexit reads names in the same
# way, and refuses such a file if it is outside the image's folder.
#
# Needs Debian 12 on x86-64. Run by hand, not in CI. Fails if the behaviour has changed.
set -eu
QEMU=1:7.2+dfsg-7+deb12u18+b3
LIBRARIES='libaio1=0.3.113-4 libnuma1=2.0.16-1 liburing2=2.3-3 libglib2.0-0=2.74.6-2+deb12u9
  libgnutls30=3.7.9-2+deb12u7 libnettle8=3.8.1-2 libhogweed6=3.8.1-2 libp11-kit0=0.24.1-2
  libtasn1-6=4.19.0-2+deb12u1 libidn2-0=2.3.3-1+b1 libunistring2=1.0-2 libzstd1=1.5.4+dfsg2-5'

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
# shellcheck disable=SC2086
apt-get -o APT::Sandbox::User=root download -qq "qemu-utils=$QEMU" $LIBRARIES
for package in *.deb; do dpkg -x "$package" root; done
img() {
  LD_LIBRARY_PATH="$folder/root/usr/lib/x86_64-linux-gnu:$folder/root/lib/x86_64-linux-gnu" \
    "$folder/root/usr/bin/qemu-img" "$@"
}
img --version | head -n 1

mkdir images
cd images
img create -q -f qcow2 base.qcow2 1M
img create -q -f qcow2 -b base.qcow2 -F qcow2 plain.qcow2
img create -q -f qcow2 -b file:base.qcow2 -F qcow2 prefix.qcow2
img map plain.qcow2 >/dev/null
img map prefix.qcow2 >/dev/null
echo "1. From the folder of the images both open"
cd ..

img map images/plain.qcow2 >/dev/null
echo "2. From another folder the image on base.qcow2 opens"

if said=$(img map images/prefix.qcow2 2>&1); then
  echo "CHANGED: the image on file:base.qcow2 opens too"
  exit 1
fi
echo "3. The image on file:base.qcow2 does not:"
echo "$said" | sed 's/^/   /'
case $said in
  *"Could not open 'base.qcow2': No such file or directory"*) ;;
  *) echo "CHANGED: another message"; exit 1 ;;
esac
echo "AS EXPECTED"
