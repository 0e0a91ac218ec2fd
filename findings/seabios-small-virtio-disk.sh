#!/bin/sh
# SeaBIOS does not boot from a virtio disk that is smaller than one cylinder of its own geometry,
# 16 heads of 63 sectors: 504 KiB. At 503 KiB it goes on to the next device and ends with "No
# bootable device."; its log does not mention the disk. The same file on IDE boots, from 64 KiB on.
# Tests like to boot tiny disks, and then search the fault in their boot sector or their device.
#
# The boot sector prints one letter on COM1. Seen with SeaBIOS 1.16.2 under QEMU 7.2.22 (Debian 12).
#
# Needs Debian 12 on x86-64. Run by hand, not in CI. Fails if the behaviour has changed.
set -eu
QEMU=1:7.2+dfsg-7+deb12u18+b3
LIBRARIES='libaio1=0.3.113-4 libblkid1=2.38.1-5+deb12u3 libbpf1=1:1.1.2-0+deb12u1 libcapstone4=4.0.2-5
  libdaxctl1=76.1-1 libelf1=0.188-2.1 libfdt1=1.6.1-4+b1 libffi8=3.4.4-1 libfuse3-3=3.14.0-4
  libglib2.0-0=2.74.6-2+deb12u9 libgmp10=2:6.2.1+dfsg1-1.1 libgnutls30=3.7.9-2+deb12u7
  libhogweed6=3.8.1-2 libibverbs1=44.0-2 libidn2-0=2.3.3-1+b1 libjpeg62-turbo=1:2.1.5-2
  libkmod2=30+20221128-1 liblzma5=5.4.1-1+deb12u2 libmount1=2.38.1-5+deb12u3 libndctl6=76.1-1
  libnettle8=3.8.1-2 libnl-3-200=3.7.0-0.2+b1 libnl-route-3-200=3.7.0-0.2+b1 libnuma1=2.0.16-1
  libp11-kit0=0.24.1-2 libpcre2-8-0=10.42-1+deb12u2 libpixman-1-0=0.42.2-1 libpmem1=1.12.1-2
  libpng16-16=1.6.39-2+deb12u6 librdmacm1=44.0-2 libsasl2-2=2.1.28+dfsg-10+deb12u1
  libseccomp2=2.5.4-1+deb12u1 libselinux1=3.4-1+b6 libslirp0=4.7.0-1 libssl3=3.0.22-1~deb12u2
  libtasn1-6=4.19.0-2+deb12u1 libudev1=252.39-1~deb12u2 libunistring2=1.0-2 liburing2=2.3-3
  libuuid1=2.38.1-5+deb12u3 libvdeplug2=4.0.1-4 libzstd1=1.5.4+dfsg2-5+deb12u1
  zlib1g=1:1.2.13.dfsg-1'

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
# shellcheck disable=SC2086
apt-get -o APT::Sandbox::User=root download -qq "qemu-system-x86=$QEMU" "qemu-system-common=$QEMU" \
  "qemu-system-data=1:7.2+dfsg-7+deb12u18" seabios=1.16.2-1 $LIBRARIES
for package in *.deb; do dpkg -x "$package" root; done
share="$folder/root/usr/share"
qemu() {
  QEMU_MODULE_DIR="$folder/root/usr/lib/x86_64-linux-gnu/qemu" \
    LD_LIBRARY_PATH="$folder/root/usr/lib/x86_64-linux-gnu:$folder/root/lib/x86_64-linux-gnu" \
    exec "$folder/root/usr/bin/qemu-system-x86_64" -L "$share/seabios" -L "$share/qemu" "$@"
}
(qemu --version) | head -n 1

# mov dx, 0x3f8; mov al, 'B'; out dx, al; hlt; jmp to the hlt
boot_sector='\272\370\003\260B\356\364\353\375'

# boots KIB INTERFACE: what COM1 got in 20 seconds, at most, then what SeaBIOS said last
boots() {
  printf "$boot_sector" >disk.img
  printf '\125\252' | dd of=disk.img bs=1 seek=510 status=none
  truncate -s "$1K" disk.img
  : >serial && : >log
  qemu -accel tcg -m 32 -display none -vga none -net none -serial file:serial \
    -chardev file,id=log,path=log -device isa-debugcon,iobase=0x402,chardev=log \
    -drive "file=disk.img,format=raw,if=$2" &
  process=$!
  for _ in $(seq 40); do
    sleep 0.5
    if [ -s serial ] || grep -q 'No bootable device' log; then break; fi
  done
  kill $process
  wait $process 2>/dev/null || true
  if [ -s serial ]; then echo boots; else grep -ao 'No bootable device' log || echo silence; fi
}
found="503 KiB, virtio: $(boots 503 virtio)
504 KiB, virtio: $(boots 504 virtio)
64 KiB, IDE: $(boots 64 ide)"
echo "$found"
if [ "$found" != '503 KiB, virtio: No bootable device
504 KiB, virtio: boots
64 KiB, IDE: boots' ]; then
  echo "CHANGED: this is not what was seen"
  exit 1
fi
