# The C++ side of `npm run bench -- exit`, which scripts/bench.mjs builds.
{
  "targets": [
    {
      "target_name": "exit_loop",
      "sources": ["exit_loop.cc"],
      "defines": ["NAPI_VERSION=8"],
      "cflags_cc!": ["-std=gnu++17", "-std=gnu++20"],
      "cflags_cc": ["-std=c++20", "-fno-exceptions", "-Wall", "-Wextra"]
    }
  ]
}
