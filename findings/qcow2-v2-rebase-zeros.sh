#!/bin/sh
# `qemu-img rebase` without -u promises that a disk reads the same afterwards. For a qcow2 image of
# version 2 (compat=0.10) that had no backing file it does not: clusters that were never written
# read as zeros before, and as the new backing file's data afterwards. Version 2 cannot mark a
# cluster as zeros, and qemu-img does not write zeros in place of the mark. The same image in
# version 3 keeps its contents, and so does one of version 2 that had a backing file of zeros.
#
# Seen with qemu-img 7.2.22 (Debian 12) and 11.1.3 (Debian sid). `vmexit img rebase` writes the zeros.
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
run() {
  program=$1
  shift
  LD_LIBRARY_PATH="$folder/root/usr/lib/x86_64-linux-gnu:$folder/root/lib/x86_64-linux-gnu" \
    "$folder/root/usr/bin/$program" "$@"
}
run qemu-img --version | head -n 1

run qemu-img create -q -f raw new-backing.raw 1M
run qemu-io -f raw -c 'write -q -P 0x55 0 1M' new-backing.raw
run qemu-img create -q -f raw zeros.raw 1M

# rebased OPTIONS [BACKING]: whether a disk with 64 KiB of data reads the same after it was rebased
rebased() {
  options=$1
  shift
  rm -f disk.qcow2
  run qemu-img create -q -f qcow2 -o "$options" ${1:+-b "$1" -F raw} disk.qcow2 1M
  run qemu-io -f qcow2 -c 'write -q -P 0xaa 0 64k' disk.qcow2
  run qemu-img convert -f qcow2 -O raw disk.qcow2 before.raw
  run qemu-img rebase -f qcow2 -b new-backing.raw -F raw disk.qcow2
  run qemu-img convert -f qcow2 -O raw disk.qcow2 after.raw
  if cmp -s before.raw after.raw; then echo same; else echo other; fi
}
found="version 2, no backing file: $(rebased compat=0.10)
version 3, no backing file: $(rebased compat=1.1)
version 2, on zeros: $(rebased compat=0.10 zeros.raw)"
echo "$found"
if [ "$found" != 'version 2, no backing file: other
version 3, no backing file: same
version 2, on zeros: same' ]; then
  echo "CHANGED: this is not what was seen"
  exit 1
fi
echo "AS EXPECTED"
