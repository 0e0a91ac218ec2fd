#!/bin/sh
# A qcow2 image names its external data file and its backing file. QEMU looks for a relative
# backing file in the folder of the image, but for a relative data file in the folder in which
# the program runs. An image that was made with `data_file=disk.data` opens from its own folder
# only, although nothing was moved.
#
# Seen with qemu-img 7.2.22 (Debian 12) and 11.1.3 (Debian sid). vmexit looks for both in the
# image's folder.
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
img create -q -f qcow2 -b base.qcow2 -F qcow2 over.qcow2
img create -q -f qcow2 -o data_file=disk.data disk.qcow2 1M
cd ..

echo "1. A relative backing file is found from another folder:"
img map images/over.qcow2 >/dev/null
echo "   images/over.qcow2 opens"

echo "2. A relative data file is not:"
if said=$(img map images/disk.qcow2 2>&1); then
  echo "CHANGED: images/disk.qcow2 opens"
  exit 1
fi
echo "   $said"
case $said in
  *"Could not open 'disk.data': No such file or directory"*) ;;
  *) echo "CHANGED: another message"; exit 1 ;;
esac

echo "3. It is found from the folder of the image:"
(cd images && img map disk.qcow2 >/dev/null)
echo "   disk.qcow2 opens"
echo "AS EXPECTED"
