# INCIDENT_SANITIZE: semicolon list for -fsanitize, set by the presets asan and fuzz.
set(INCIDENT_SANITIZE "" CACHE STRING "sanitizers, e.g. address;undefined")
if(INCIDENT_SANITIZE)
  string(REPLACE ";" "," sanitizers "${INCIDENT_SANITIZE}")
  add_compile_options(-fsanitize=${sanitizers} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${sanitizers})
endif()

option(INCIDENT_FUZZ "build the libFuzzer targets of tests/fuzz (clang)" OFF)
if(INCIDENT_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
