// A port scanner: port-scan LAST ADDRESS... tries the TCP ports 1 to LAST of each address, and sends a datagram to
// some UDP ports. A line for each address: how many ports were open, refused, or silent, and how many datagrams were
// answered, refused, or silent.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { WINDOW = 200, TCP_PATIENCE_MS = 5000, UDP_PATIENCE_MS = 700 };

static const int UDP_PORTS[] = {1, 7, 53, 67, 69, 111, 123, 137, 161, 500, 514, 1900, 4500, 5353, 7001, 33434};
enum { UDP_COUNT = sizeof(UDP_PORTS) / sizeof(UDP_PORTS[0]) };

static int Begin(const char *address, int port, int type) {
  const int fd = socket(AF_INET, type | SOCK_NONBLOCK, 0);
  if (fd < 0) {
    perror("socket");
    exit(1);
  }
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
  inet_pton(AF_INET, address, &to.sin_addr);
  if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0 && errno != EINPROGRESS) {
    close(fd);
    return -1;
  }
  return fd;
}

// Waits for the sockets, of which -1 were refused at once, and counts: open or answered, refused, silent.
static void Collect(struct pollfd *sockets, int count, short events, int patience, int *counts) {
  int left = 0;
  for (int n = 0; n < count; n++) {
    sockets[n].events = events;
    if (sockets[n].fd < 0) counts[1]++;
    else left++;
  }
  while (left > 0 && poll(sockets, count, patience) > 0) {
    for (int n = 0; n < count; n++) {
      if (sockets[n].fd < 0 || sockets[n].revents == 0) continue;
      int error = 0;
      socklen_t size = sizeof error;
      getsockopt(sockets[n].fd, SOL_SOCKET, SO_ERROR, &error, &size);
      counts[error == 0 ? 0 : 1]++;
      close(sockets[n].fd);
      sockets[n].fd = -1;
      left--;
    }
  }
  counts[2] += left;
  for (int n = 0; n < count; n++)
    if (sockets[n].fd >= 0) close(sockets[n].fd);
}

int main(int argc, char **argv) {
  const int last = atoi(argv[1]);
  struct pollfd sockets[WINDOW];
  for (int n = 2; n < argc; n++) {
    int tcp[3] = {0, 0, 0}, udp[3] = {0, 0, 0};
    for (int port = 1; port <= last;) {
      int count = 0;
      memset(sockets, 0, sizeof sockets);
      for (; count < WINDOW && port <= last; port++) sockets[count++].fd = Begin(argv[n], port, SOCK_STREAM);
      Collect(sockets, count, POLLOUT, TCP_PATIENCE_MS, tcp);
    }
    memset(sockets, 0, sizeof sockets);
    for (int i = 0; i < UDP_COUNT; i++) {
      sockets[i].fd = Begin(argv[n], UDP_PORTS[i], SOCK_DGRAM);
      if (sockets[i].fd >= 0 && send(sockets[i].fd, "scan", 4, 0) < 0) {
        close(sockets[i].fd);
        sockets[i].fd = -1;
      }
    }
    Collect(sockets, UDP_COUNT, POLLIN, UDP_PATIENCE_MS, udp);
    printf("%s tcp %d open %d refused %d silent, udp %d answered %d refused %d silent\n", argv[n], tcp[0], tcp[1],
           tcp[2], udp[0], udp[1], udp[2]);
    fflush(stdout);
  }
  return 0;
}
