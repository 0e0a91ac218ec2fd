// blk-load DEVICE read|write|randread|randwrite BLOCK DEPTH SECONDS
//
// Runs in the guest of bench/blk: keeps DEPTH requests of BLOCK bytes in flight
// to a disk for SECONDS, with O_DIRECT. Prints <start>, then the number of
// completed requests, then <end>. The reader of the output measures the time.
//
// Source: io_setup(2), io_submit(2), io_getevents(2), called by number, because
// an initramfs needs a static program without libraries.

#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

namespace {

constexpr int kMaxDepth = 256;

double Now() {
  timespec now = {};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + now.tv_nsec * 1e-9;
}

[[noreturn]] void Fail(const char* what) {
  perror(what);
  exit(1);
}

// The same offsets in every run: xorshift64.
uint64_t Next() {
  static uint64_t state = 0x9e3779b97f4a7c15;
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 6) {
    fprintf(stderr,
            "usage: blk-load DEVICE read|write|randread|randwrite BLOCK DEPTH "
            "SECONDS\n");
    return 2;
  }
  const bool random = strncmp(argv[2], "rand", 4) == 0;
  const bool writes = strcmp(argv[2] + (random ? 4 : 0), "write") == 0;
  const uint64_t block = strtoull(argv[3], nullptr, 10);
  const int depth = atoi(argv[4]);
  const double seconds = atof(argv[5]);
  if (block == 0 || depth < 1 || depth > kMaxDepth) return 2;

  const int fd = open(argv[1], (writes ? O_RDWR : O_RDONLY) | O_DIRECT);
  if (fd < 0) Fail(argv[1]);
  uint64_t size = 0;
  if (ioctl(fd, BLKGETSIZE64, &size) < 0) Fail("BLKGETSIZE64");
  const uint64_t blocks = size / block;

  aio_context_t context = 0;
  if (syscall(SYS_io_setup, depth, &context) < 0) Fail("io_setup");
  iocb requests[kMaxDepth] = {};
  uint64_t position = 0;
  const auto aim = [&](iocb* request) {
    request->aio_offset =
        static_cast<int64_t>((random ? Next() : position++) % blocks * block);
  };
  for (int i = 0; i < depth; i++) {
    void* const buffer = aligned_alloc(4096, block);
    memset(buffer, 0x5a, block);
    requests[i].aio_fildes = fd;
    requests[i].aio_lio_opcode = writes ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD;
    requests[i].aio_buf = reinterpret_cast<uint64_t>(buffer);
    requests[i].aio_nbytes = block;
    requests[i].aio_data = i;
  }

  printf("<start>\n");
  fflush(stdout);
  const double end = Now() + seconds;
  uint64_t completed = 0;
  int waiting = depth;  // to be submitted
  int under_way = 0;
  iocb* batch[kMaxDepth];
  io_event events[kMaxDepth];
  for (int i = 0; i < depth; i++) batch[i] = &requests[i];
  while (waiting > 0 || under_way > 0) {
    for (int i = 0; i < waiting; i++) aim(batch[i]);
    for (int sent = 0; sent < waiting;) {
      const long n =
          syscall(SYS_io_submit, context, waiting - sent, batch + sent);
      if (n <= 0) Fail("io_submit");
      sent += static_cast<int>(n);
    }
    under_way += waiting;
    waiting = 0;
    const long n =
        syscall(SYS_io_getevents, context, 1, depth, events, nullptr);
    if (n < 0) Fail("io_getevents");
    under_way -= static_cast<int>(n);
    completed += static_cast<uint64_t>(n);
    const bool over = Now() >= end;
    for (long i = 0; i < n; i++) {
      if (events[i].res != static_cast<int64_t>(block)) {
        fprintf(stderr, "a request ended with %lld\n",
                static_cast<long long>(events[i].res));
        return 1;
      }
      if (!over) batch[waiting++] = &requests[events[i].data];
    }
  }
  printf("%llu\n<end>\n", static_cast<unsigned long long>(completed));
  return 0;
}
