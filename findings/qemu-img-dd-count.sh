#!/bin/sh
# `qemu-img dd` has dd's words, but its count is not dd's. The manual says that count=BLOCKS is the
# number of input blocks to copy. With skip=, qemu-img copies what lies before block `count` of the
# input, so skip=1 count=2 copies one block and skip=2 count=2 copies none. Its exit status is 0.
#
# Seen with qemu-img 7.2.22 (Debian 12) and 11.1.3 (Debian sid). `vmexit img dd` copies `count` blocks.
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

for block in A B C D; do yes $block | tr -d '\n' | head -c 512; done >input.raw

# copied SKIP COUNT: the blocks that qemu-img copies, then those that dd copies
copied() {
  run qemu-img dd -f raw -O raw if=input.raw of=output.raw bs=512 "skip=$1" "count=$2"
  dd if=input.raw of=dd.raw bs=512 "skip=$1" "count=$2" status=none
  echo "skip=$1 count=$2: qemu-img $(tr -s A-D <output.raw), dd $(tr -s A-D <dd.raw)"
}
found="$(copied 0 2)
$(copied 1 2)
$(copied 2 2)
$(copied 1 3)"
echo "$found"
if [ "$found" != 'skip=0 count=2: qemu-img AB, dd AB
skip=1 count=2: qemu-img B, dd BC
skip=2 count=2: qemu-img , dd CD
skip=1 count=3: qemu-img BC, dd BCD' ]; then
  echo "CHANGED: this is not what was seen"
  exit 1
fi
echo "AS EXPECTED"
