#!/bin/sh
# QEMU's x86 CPU models can lose XSAVE and keep what needs it: with xsave=off, `max` still offers
# AVX, AVX2, FMA, VAES, MPX, protection keys and XSAVEOPT. Processors have none of them without
# XSAVE, which switches their registers on (Intel SDM volume 1, chapters 13 and 14). Linux 6.1 and
# 6.12 do not mind; 7.2 uses AVX at boot on its CPUID bit alone and does not come up.
#
# This only asks QEMU for the model, by QMP, and starts no machine. Seen with QEMU 7.2.22 (Debian
# 12) and 11.1.3 (Debian sid). lab/lab takes everything off that needs XSAVE.
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
apt-get -o APT::Sandbox::User=root download -qq "qemu-system-x86=$QEMU" "qemu-system-common=$QEMU" $LIBRARIES
for package in *.deb; do dpkg -x "$package" root; done
qemu() {
  QEMU_MODULE_DIR="$folder/root/usr/lib/x86_64-linux-gnu/qemu" \
    LD_LIBRARY_PATH="$folder/root/usr/lib/x86_64-linux-gnu:$folder/root/lib/x86_64-linux-gnu" \
    "$folder/root/usr/bin/qemu-system-x86_64" "$@"
}
qemu --version | head -n 1

answer=$(qemu -machine none,accel=tcg -display none -nodefaults -qmp stdio <<'QMP'
{"execute": "qmp_capabilities"}
{"execute": "query-cpu-model-expansion",
 "arguments": {"type": "full", "model": {"name": "max", "props": {"xsave": false}}}}
{"execute": "quit"}
QMP
)
features=$(echo "$answer" | tr ',' '\n' |
  grep -oE '"(xsave|xsaveopt|avx|avx2|fma|f16c|vaes|mpx|pku)": (true|false)' | sort)
echo "The model \"max\" with xsave=false:"
echo "$features" | sed 's/^/   /'
expected='"avx": true
"avx2": true
"f16c": true
"fma": true
"mpx": true
"pku": true
"vaes": true
"xsave": false
"xsaveopt": true'
if [ "$features" != "$expected" ]; then
  echo "CHANGED: the features are not those that were seen"
  exit 1
fi
