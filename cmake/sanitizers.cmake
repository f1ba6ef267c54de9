# INCIDENT_SANITIZE: semicolon list for -fsanitize, set by the presets asan and fuzz.
set(INCIDENT_SANITIZE "" CACHE STRING "sanitizers, e.g. address;undefined")
if(INCIDENT_SANITIZE)
  string(REPLACE ";" "," sanitizers "${INCIDENT_SANITIZE}")
  add_compile_options(-fsanitize=${sanitizers} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${sanitizers})
endif()
