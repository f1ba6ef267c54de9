# Warnings for our own targets only.
add_library(incident_warnings INTERFACE)
target_compile_options(incident_warnings INTERFACE -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Wold-style-cast
                       -Wcast-qual -Wno-missing-field-initializers)

# For files that include rapidjson/document.h: version 1.1.0 (Debian 12) has a member function, never called, that assigns
# to a const member. gcc looks when somebody calls it, clang when it reads it, unless templates are parsed late.
function(incident_parses_json)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    set_source_files_properties(${ARGN} PROPERTIES COMPILE_OPTIONS "-fdelayed-template-parsing;-Wno-delayed-template-parsing-in-cxx20")
  endif()
endfunction()
