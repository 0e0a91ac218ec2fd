#!/bin/sh
# iasl refuses the hardware id that QEMU gives its VM generation ID device: _HID "QEMUVGID" is error
# 6035, "suffix must be all hex digits". ACPI wants four characters of a vendor and four hex digits
# (6.5, section 6.1.5); guests find the device by its _CID, "VM_Gen_Counter", and do not mind.
# So a table of a running guest cannot be disassembled and compiled again, and whoever writes the
# device in ASL, for a monitor of his own, has to turn that error off (-vw 6035) or take another id.
#
# Seen with iasl 20200925 (Debian 12) and 20260408 (Debian sid).
#
# Needs Debian 12 on x86-64. Run by hand, not in CI. Fails if the behaviour has changed.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
apt-get -o APT::Sandbox::User=root download -qq acpica-tools=20200925-8
dpkg -x acpica-tools_*.deb root
iasl="$folder/root/usr/bin/iasl"
"$iasl" -v | grep version

cat >device.asl <<'ASL'
DefinitionBlock ("", "SSDT", 1, "TEST", "TEST", 1)
{
    Device (\_SB.VGEN)
    {
        Name (_HID, "QEMUVGID")
        Name (_CID, "VM_Gen_Counter")
    }
}
ASL
found=$("$iasl" device.asl 2>&1 | grep -oE 'Error +6035|HID suffix must be all hex digits' || true)
echo "$found"
if [ "$found" != 'Error    6035
HID suffix must be all hex digits' ]; then
  echo "CHANGED: iasl does not refuse it as it did"
  exit 1
fi
"$iasl" -vw 6035 device.asl >/dev/null 2>&1 || { echo "CHANGED: it refuses it with -vw 6035 too"; exit 1; }
echo "with -vw 6035: compiled"
