# Functions about kernel packages, for the lab and its guest. Sourced by bash.
#
# A distribution's kernel is fetched as packages and unpacked, never installed:
# the boot loader stays as it is, and no privilege is needed. Everything lands in
#
#   $VMEXIT_CACHE, else $XDG_CACHE_HOME/vmexit, else ~/.cache/vmexit
#     kernel/PACKAGE/            version, and the unpacked packages
#     lab-KEY/ guest-KEY/        what prepare and guest/build make
#     lock                       locked while any of these is being made
#
# Where the kernel and its modules are, by package:
#
#   Debian 12 and 13   linux-image-V: /boot/vmlinuz-V, (/usr)/lib/modules/V
#   Debian sid (7.2)   linux-binary-V: /usr/lib/modules/V/vmlinuz, linux-modules-V: the modules,
#                      linux-base-V: modules.builtin, .builtin.modinfo and .order; linux-image-V
#                      is empty and depends on these
#   Ubuntu             linux-image-V: /boot/vmlinuz-V, linux-modules-V and linux-modules-extra-V
#
# Source for the payload's place in a bzImage: Linux Documentation/arch/x86/boot.rst,
# setup_sects (0x1f1), payload_offset (0x248) and payload_length (0x24c).

cache=${VMEXIT_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/vmexit}
cache=$(realpath -m "$cache")
PATH=$PATH:/usr/sbin:/sbin # modprobe, depmod and mkfs.ext4 live there on Debian

say() { echo "${0##*/}: $*" >&2; }
fail() {
  say "$*"
  exit 2
}

# need COMMAND:PACKAGE...: ends the script unless each command is there.
need() {
  local pair missing=()
  for pair in "$@"; do
    command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
  done
  [ ${#missing[@]} = 0 ] || fail "missing packages; run: apt-get install -y ${missing[*]}"
}

# Only one process at a time fills the cache; the lock goes with the script.
lock_cache() {
  mkdir -p "$cache"
  exec 9>"$cache/lock"
  flock -n 9 || {
    say "waiting for another process that is filling $cache"
    flock 9
  }
}
unlock_cache() { exec 9>&-; }

# fetch_kernel PACKAGE...: the first package that this distribution has, unpacked.
# Prints its folder. Given a meta package, takes the kernel that it depends on.
fetch_kernel() {
  local package folder real version deb
  for package in "$@"; do
    folder=$cache/kernel/$package
    [ ! -e "$folder/version" ] || { echo "$folder" && return; }
  done
  [ -n "$(kernel_of "$1")$(kernel_of "${@: -1}")" ] || update_lists
  for package in "$@"; do
    real=$(kernel_of "$package")
    [ -n "$real" ] || continue
    folder=$cache/kernel/$package
    say "downloading $real"
    rm -rf "$folder" "$folder.new" && mkdir -p "$folder.new/deb"
    chmod 755 "$folder.new/deb"
    download "$folder.new/deb" "$real" || {
      update_lists
      real=$(kernel_of "$package")
      download "$folder.new/deb" "$real" || fail "cannot download $real"
    }
    for deb in "$folder.new"/deb/*.deb; do dpkg-deb -x "$deb" "$folder.new"; done
    rm -rf "$folder.new/deb"
    # Newer packages put the modules below /usr.
    [ -e "$folder.new/lib/modules" ] || ln -s usr/lib "$folder.new/lib"
    version=$(ls "$folder.new/lib/modules")
    depmod -b "$folder.new" "$version"
    echo "$version" >"$folder.new/version"
    mv "$folder.new" "$folder"
    echo "$folder"
    return
  done
  fail "none of these packages is known to apt: $*"
}

# Package lists that are missing or older than the archive are the usual trouble on a
# new machine. Only root may fetch new ones.
update_lists() {
  [ "$(id -u)" = 0 ] || fail "apt's package lists are too old or missing; run: apt-get update"
  say "updating apt's package lists"
  apt-get -qq update >&2 || fail "apt-get update failed"
}

# download FOLDER KERNEL-PACKAGE: that package, and those that have the rest of the kernel.
download() (
  local version=${2#linux-image-} package
  cd "$1" || return
  for package in "$2" "linux-binary-$version" "linux-base-$version" "linux-modules-$version" \
    "linux-modules-extra-$version"; do
    [ "$package" = "$2" ] || known "$package" || continue
    apt-get -qq -o APT::Sandbox::User=root download "$package" >&2 || return
  done
)

# kernel_file FOLDER: the bzImage in an unpacked kernel package.
kernel_file() {
  local file
  for file in "$1"/boot/vmlinuz-* "$1"/lib/modules/*/vmlinuz; do
    [ ! -e "$file" ] || { echo "$file" && return; }
  done
  fail "there is no kernel in $1: its packages are laid out in a way that is not known here"
}

known() { [ -n "$(apt-cache show --no-all-versions "$1" 2>/dev/null)" ]; }

kernel_of() {
  local depends
  depends=$(apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks \
    --no-replaces --no-enhances "$1" 2>/dev/null | grep -E '^linux-image-[0-9]' | head -1) || :
  echo "$depends"
}

# unpack_kernel BZIMAGE: the kernel inside, an ELF file, on stdout.
unpack_kernel() {
  local file=$1 setup_sects payload_offset payload_length unpack
  setup_sects=$(od -An -tu1 -j 0x1f1 -N 1 "$file")
  payload_offset=$(od -An -tu4 -j 0x248 -N 4 "$file")
  payload_length=$(od -An -tu4 -j 0x24c -N 4 "$file")
  payload_offset=$(((setup_sects + 1) * 512 + payload_offset))
  case $(od -An -tx1 -j "$payload_offset" -N 4 "$file" | tr -d ' ') in
    1f8b*) unpack="gzip -dc" ;;
    fd377a58) unpack="xz -dc --single-stream" ;;
    02214c18) unpack="lz4 -dc" ;;
    28b52ffd) unpack="zstd -dc" ;;
    *) fail "$file: unknown kernel compression" ;;
  esac
  case $unpack in xz*) need xz:xz-utils ;; *) need "${unpack%% *}:${unpack%% *}" ;; esac
  # The payload ends with its unpacked size, which the tools take for a broken
  # second stream: what they say and their status mean nothing here.
  dd if="$file" bs=1M iflag=skip_bytes,count_bytes skip="$payload_offset" \
    count="$((payload_length))" status=none | $unpack 2>/dev/null || :
}

# copy_modules KERNEL FOLDER MODULE...: the modules and what they depend on, plain
# .ko files, with FOLDER/order naming them in the order to load. Built-in ones and
# ones that this kernel lacks are left out.
copy_modules() {
  local kernel=$1 folder=$2 version file plain
  version=$(cat "$kernel/version")
  shift 2
  mkdir -p "$folder" && : >"$folder/order"
  for module in "$@"; do
    modprobe -d "$kernel" -S "$version" --show-depends "$module" 2>/dev/null || :
  done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' >"$folder/.files"
  while read -r file; do
    plain=$folder/$(basename "$file" | sed 's/\.ko.*/.ko/')
    case $file in
      *.xz) xz -dc "$file" >"$plain" ;;
      *.zst) zstd -qdc "$file" >"$plain" ;;
      *.gz) gzip -dc "$file" >"$plain" ;;
      *) cp "$file" "$plain" ;;
    esac
    basename "$plain" >>"$folder/order"
  done <"$folder/.files"
  rm "$folder/.files"
}

# key_of FILE-OR-TEXT...: a short name for what a folder was made of.
key_of() {
  local each
  for each in "$@"; do
    if [ -f "$each" ]; then cat "$each"; else echo "$each"; fi
  done | sha256sum | cut -c1-12
}
