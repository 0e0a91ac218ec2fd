# The build that `npm install` runs. CMakeLists.txt builds the same sources for
# developers (AddressSanitizer, compile_commands.json); both read their names
# from native/sources.txt.
{
  "targets": [
    {
      "target_name": "vmexit",
      "sources": ["<!@(cat native/sources.txt)"],
      "include_dirs": ["<!(node -p \"require('node-addon-api').include_dir\")"],
      "defines": [
        "NAPI_VERSION=8",
        "NODE_ADDON_API_DISABLE_CPP_EXCEPTIONS",
        # A process may exit while its threads still load this: nothing can be thrown then.
        "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS",
      ],
      "cflags_cc!": ["-std=gnu++17", "-std=gnu++20"],
      "cflags_cc": [
        "-std=c++20",
        "-fno-exceptions",
        "-Wall",
        "-Wextra",
        "-Wno-missing-field-initializers"
      ]
    }
  ]
}
